// Command jackstay talks to jackstayd as docker talks to dockerd.
package main

import (
	"os"
	"runtime/debug"

	"github.com/jackstay/jackstay/internal/cli"
)

func main() {
	// A command lives for milliseconds: collecting garbage at Go's usual 4 MB
	// would take a tenth of them. This is 32 MB.
	debug.SetGCPercent(800)
	os.Exit(cli.Main())
}
