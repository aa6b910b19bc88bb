// Package netplan computes the wanted state of the host's network from the
// choices. Plan is a pure function; it reads nothing and remembers nothing. A
// Planner gives the same, faster.
//
//	plan.go     the whole, and who owns a network namespace
//	planner.go  Plan with a memory, for the daemon
//	bridges.go  networks: bridges and the firewall elements they have
//	sandbox.go  a container's namespace: interfaces, routes, sysctls, resolver
//	hosts.go    hosts, hostname and resolv.conf
//	ports.go    published ports and the claims behind them
//	floating.go floating IPs
//	policy.go   who may reach whom, and who sends from where
//	groups.go   security groups
//	moved.go    addresses that a swap exchanged
//	names.go    zones, and what each container sees of them
//	nics.go     NICs, and the routes and rules asked for inside
//	links.go    where a link leads
package netplan
