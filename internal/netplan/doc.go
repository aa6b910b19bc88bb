// Package netplan computes the wanted state of the host's network from the
// choices. Plan is a pure function; it reads nothing and remembers nothing.
package netplan
