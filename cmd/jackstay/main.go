// Command jackstay talks to jackstayd as docker talks to dockerd.
package main

import (
	"os"

	"github.com/jackstay/jackstay/internal/cli"
)

func main() { os.Exit(cli.Main()) }
