package model

import (
	"net/netip"
	"time"
)

// SecurityGroup says who may open connections to its containers.
type SecurityGroup struct {
	ID          string // 64 hex digits
	Name        string // unique among its tenant's
	Tenant      string // whose it is; empty: the administrator's
	Description string `json:",omitempty"`
	Created     time.Time
	Rules       []GroupRule // each once; none: nobody may
}

// GroupRule lets a source open connections to some ports.
type GroupRule struct {
	Proto       string // tcp, udp, sctp, icmp or any
	First, Last uint16 // ports of tcp, udp and sctp; 0: all of them
	// Source are the addresses connections come from, or, if it is invalid, Group
	// is the ID of the group whose containers they come from.
	Source netip.Prefix // masked
	Group  string       `json:",omitempty"`
}

// GroupRuleRequest is a rule as asked for.
type GroupRuleRequest struct {
	Proto       string
	First, Last int    // 0: all; Last 0: First alone
	Prefix      string // an address or a prefix; empty together with Group: everybody
	Group       string // name or ID of a group
}

// SecurityGroupRequest asks for a security group.
type SecurityGroupRequest struct {
	Name        string
	Description string
	Rules       []GroupRuleRequest
}

// SecurityGroupChange changes a security group in one step: first what
// replaces, then what goes, then what comes.
type SecurityGroupChange struct {
	Description *string
	Replace     bool // Rules are all there will be
	Rules       []GroupRuleRequest
	Remove, Add []GroupRuleRequest
}
