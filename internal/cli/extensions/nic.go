package extensions

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/command/completion"
	"github.com/spf13/cobra"
)

// nic is an interface of a container as the API tells it.
type nic struct {
	Container, ContainerID, Name, On, Kind string
	Addresses, Gateways                    []string
	MacAddress, HostName                   string
	MTU, VLAN                              int
	DHCP, Up                               bool
	NetRateIn, NetRateOut                  string
	ID                                     string
}

func nicCommand(dockerCli command.Cli) *cobra.Command {
	return group(dockerCli, "nic", "Manage interfaces of containers, running or not", nicAdd(dockerCli),
		&cobra.Command{
			Use: "rm CONTAINER NAME...", Aliases: []string{"remove"}, Short: "Take interfaces off a container",
			Args:              cli.RequiresMinArgs(2),
			ValidArgsFunction: completion.ContainerNames(dockerCli, true),
			RunE: func(cmd *cobra.Command, args []string) error {
				return each(args[1:], func(name string) error {
					return call(cmd.Context(), dockerCli, "DELETE", "/containers/"+args[0]+"/nics", url.Values{"nic": {name}}, nil, nil)
				})
			},
		},
		nicList(dockerCli).command(dockerCli), nicWait(dockerCli))
}

func nicWait(dockerCli command.Cli) *cobra.Command {
	var seconds int
	cmd := &cobra.Command{
		Use: "wait [OPTIONS] CONTAINER [NAME]", Short: "Wait until a container runs and has an interface (eth1)",
		Long: "Wait until a container runs and has an interface, up and with its address. Without --timeout an interface that\n" +
			"nobody has asked for yet is waited for for a minute, and one that is asked for without end.",
		Args: cli.RequiresRangeArgs(1, 2), ValidArgsFunction: completion.ContainerNames(dockerCli, true),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, name := url.Values{}, "eth1"
			if len(args) == 2 {
				name = args[1]
				q.Set("nic", name)
			}
			if cmd.Flags().Changed("timeout") {
				if seconds < 0 {
					return fmt.Errorf("invalid timeout %d: give seconds, or 0 to wait without end", seconds)
				}
				q.Set("timeout", strconv.Itoa(seconds))
			}
			var list []nic
			if err := call(cmd.Context(), dockerCli, "GET", "/containers/"+args[0]+"/nics", nil, nil, &list); err != nil {
				return err
			}
			if !slices.ContainsFunc(list, func(n nic) bool { return n.Name == name }) {
				names := make([]string, len(list))
				for i, n := range list {
					names[i] = n.Name
				}
				_, _ = fmt.Fprintf(dockerCli.Err(), "Container %s has no interface %s yet, waiting for it. It has: %s\n", args[0], name, cmp.Or(strings.Join(names, ", "), "none"))
			}
			return call(cmd.Context(), dockerCli, "POST", "/containers/"+args[0]+"/nics/wait", q, nil, nil)
		},
	}
	cmd.Flags().IntVarP(&seconds, "timeout", "t", 0, "Seconds to wait at most; 0 to wait without end (default 60 for an interface that nobody has asked for yet)")
	return cmd
}

func nicAdd(dockerCli command.Cli) *cobra.Command {
	var b struct {
		On, Name, HostName  string
		Addresses           []string
		MacAddress, MacFrom string
		MTU, VLAN           int
		Routes              []string
		DHCP, Direct, Wait  bool

		NetRateIn, NetRateOut string `json:",omitempty"`
	}
	var vlan string
	cmd := &cobra.Command{
		Use:   "add [OPTIONS] CONTAINER --on NETWORK|BRIDGE|DEVICE",
		Short: "Give a container a further interface",
		Long: "Give a container, running or not, a further interface: on a network of Jackstay's, on a bridge of the host,\n" +
			"or on one of its devices. A bridge that is not there is made if its name has br in it, or, with Open vSwitch,\n" +
			"begins with ovs; it goes with the last interface on it. On any other device the interface is a macvlan, or with\n" +
			"--direct the device itself, which the host has back when the container stops. dummy leads nowhere.",
		Example: "  jackstay nic add web --on br1 --ip 192.168.4.25/24\n  jackstay nic add web --on backend --name data0\n" +
			"  jackstay nic add web --on eth1 --dhcp\n  jackstay nic add web --on eth2 --direct --ip 10.7.0.9/24,10.7.0.1",
		Args: cli.ExactArgs(1), ValidArgsFunction: completion.ContainerNames(dockerCli, true),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needs(cmd, "on", "name the network, bridge or device that the interface is put on"); err != nil {
				return err
			}
			if vlan != "" {
				n, err := strconv.Atoi(vlan)
				if err != nil || n < 1 || n > 4094 {
					return fmt.Errorf("invalid VLAN %q: it must be between 1 and 4094", vlan)
				}
				b.VLAN = n
			}
			if cmd.Flags().Changed("mtu") && b.MTU == 0 {
				return fmt.Errorf("invalid MTU 0: it must be between 68 and 65535")
			}
			var out nic
			if err := call(cmd.Context(), dockerCli, "POST", "/containers/"+args[0]+"/nics", nil, b, &out); err != nil {
				return err
			}
			_, _ = fmt.Fprintln(dockerCli.Out(), out.Name)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&b.On, "on", "", "Network, bridge or device it is put on")
	f.StringArrayVar(&b.Addresses, "ip", nil, "Address with its length, and a gateway after a comma for a new default route (ADDRESS/LENGTH[,GATEWAY]; may be given several times)")
	f.StringVar(&b.Name, "name", "", "Name inside the container (default the first free of eth1, eth2, …)")
	f.StringVar(&b.HostName, "host-name", "", "Name of its end on the host")
	f.StringVar(&b.MacAddress, "mac", "", "MAC address")
	f.StringVar(&b.MacFrom, "mac-from", "", "Make the MAC address from a word, the same on every host")
	f.IntVar(&b.MTU, "mtu", 0, "MTU in bytes")
	f.StringVar(&vlan, "vlan", "", "VLAN on the bridge or device")
	f.StringArrayVar(&b.Routes, "route", nil, "Route through it (SUBNET[,GATEWAY]; may be given several times)")
	f.BoolVar(&b.DHCP, "dhcp", false, "Lease the address from a DHCP server; the daemon renews it")
	f.BoolVar(&b.Direct, "direct", false, "Move the host's device into the container")
	f.StringVar(&b.NetRateIn, "net-rate-in", "", "Limit what it brings into the container, such as 10mbit; none for no limit (default as the container)")
	f.StringVar(&b.NetRateOut, "net-rate-out", "", "Limit what the container sends by it, such as 10mbit; none for no limit (default as the container)")
	f.BoolVar(&b.Wait, "wait", false, "Return when it is up, for a stopped container after its start")
	return cmd
}

func nicList(dockerCli command.Cli) *lister[nic] {
	return &lister[nic]{
		use: "ls [OPTIONS] [CONTAINER]", short: "List the interfaces of a container, or of all", args: cli.RequiresMaxArgs(1),
		complete: inTurn(completion.ContainerNames(dockerCli, true), nil),
		path:     ofContainer("nics"),
		columns: []column[nic]{
			{field: "Container", head: "CONTAINER", value: func(n *nic) any { return n.Container }},
			{field: "Name", head: "NAME", value: func(n *nic) any { return n.Name }},
			{field: "On", head: "ON", value: func(n *nic) any { return n.On }},
			{field: "Kind", head: "KIND", value: func(n *nic) any { return n.Kind }},
			{field: "Addresses", head: "ADDRESS", value: func(n *nic) any { return strings.Join(n.Addresses, ",") }},
			{field: "Gateways", head: "GATEWAY", value: func(n *nic) any { return strings.Join(n.Gateways, ",") }, extra: true},
			{field: "MAC", head: "MAC ADDRESS", value: func(n *nic) any { return n.MacAddress }},
			{field: "HostName", head: "HOST NAME", value: func(n *nic) any { return n.HostName }, extra: true},
			{field: "MTU", head: "MTU", value: func(n *nic) any { return n.MTU }, extra: true},
			{field: "VLAN", head: "VLAN", value: func(n *nic) any { return n.VLAN }, extra: true},
			{field: "DHCP", head: "DHCP", value: func(n *nic) any { return n.DHCP }, extra: true},
			{field: "Up", head: "UP", value: func(n *nic) any { return n.Up }, extra: true},
			{field: "NetRateIn", head: "RATE IN", value: func(n *nic) any { return n.NetRateIn }, extra: true},
			{field: "NetRateOut", head: "RATE OUT", value: func(n *nic) any { return n.NetRateOut }, extra: true},
			{field: "ContainerID", head: "CONTAINER ID", value: func(n *nic) any { return n.ContainerID }, extra: true, cut: true},
			{field: "ID", head: "NIC ID", value: func(n *nic) any { return n.ID }, extra: true, cut: true},
		},
		quiet: func(n *nic) []string { return []string{n.Name} }, quietWords: "the names",
	}
}
