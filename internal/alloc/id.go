package alloc

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
)

// ShortID is how many digits of an ID people see and use as a host name.
const ShortID = 12

// ID gives a random ID of 64 hex digits. Its first twelve are never all
// decimal: they become a host name, and RFC 1123 section 2.1 reads a name of
// digits alone as an address.
func ID() string {
	var b [32]byte
	for {
		rand.Read(b[:])
		id := hex.EncodeToString(b[:])
		if strings.Trim(id[:ShortID], "0123456789") != "" {
			return id
		}
	}
}
