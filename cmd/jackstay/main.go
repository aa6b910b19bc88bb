// Command jackstay talks to jackstayd as docker talks to dockerd. Under the
// name docker-fip it is a plugin of docker's.
package main

import (
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/jackstay/jackstay/internal/cli"
)

func main() {
	// A command lives for milliseconds: collecting garbage at Go's usual 4 MB
	// would take a tenth of them. This is 32 MB.
	debug.SetGCPercent(800)
	if filepath.Base(os.Args[0]) == cli.PluginName {
		cli.Plugin()
		return
	}
	os.Exit(cli.Main())
}
