// Command probe is the two ends of the tests' connections: a server that says
// its name and whom it sees, and a client with a short patience.
//
//	probe serve NAME PROTO:PORT...   answers "NAME PEER\n" over tcp and udp, until ended
//	probe get PROTO:HOST:PORT [WAIT] prints the answer; 1 when none comes within WAIT, 2s unless said otherwise
//	probe bind PROTO:PORT[-PORT]     prints the ports another program holds; 1 if there are any
//	probe source PORT                sends to whoever connects, 10 MB/s, until ended
//	probe drain HOST:PORT            reads what source sends until ended; then how much, and the longest gap
//	probe matrix WAIT                asks each target of its input at once; prints target and answer, - for none; TARGET WAIT for more patience
//	probe hear PORT                  prints who sends to a UDP port, and what
//	probe forge udp|arp|na|ra[+TAGS] DEV SRCMAC SRCIP DSTMAC DSTIP TEXT   sends one frame as it is told
//	probe pingpong HOST:PORT SECONDS prints how many questions were answered a second
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const patience = 2 * time.Second

func main() {
	err := fmt.Errorf("usage: probe serve NAME PROTO:PORT... | probe get PROTO:HOST:PORT [WAIT] | probe bind PROTO:PORT[-PORT] | probe source PORT | probe drain HOST:PORT")
	switch {
	case len(os.Args) >= 4 && os.Args[1] == "serve":
		err = serve(os.Args[2], os.Args[3:])
	case len(os.Args) == 3 && os.Args[1] == "get":
		err = get(os.Args[2], patience)
	case len(os.Args) == 4 && os.Args[1] == "get":
		var wait time.Duration
		if wait, err = time.ParseDuration(os.Args[3]); err == nil {
			err = get(os.Args[2], wait)
		}
	case len(os.Args) == 3 && os.Args[1] == "matrix":
		err = matrix(os.Args[2])
	case len(os.Args) == 3 && os.Args[1] == "hear":
		err = hear(os.Args[2])
	case len(os.Args) == 9 && os.Args[1] == "forge":
		err = forge(os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6], os.Args[7], os.Args[8])
	case len(os.Args) == 4 && os.Args[1] == "pingpong":
		err = pingpong(os.Args[2], os.Args[3])
	case len(os.Args) == 3 && os.Args[1] == "source":
		err = source(os.Args[2])
	case len(os.Args) == 3 && os.Args[1] == "drain":
		err = drain(os.Args[2])
	case len(os.Args) == 3 && os.Args[1] == "bind":
		err = bind(os.Args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(name string, listens []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	for _, l := range listens {
		proto, port, _ := strings.Cut(l, ":")
		if proto == "udp" {
			conn, err := net.ListenPacket("udp", ":"+port)
			if err != nil {
				return err
			}
			go serveUDP(name, conn)
			continue
		}
		listener, err := net.Listen("tcp", ":"+port)
		if err != nil {
			return err
		}
		go serveTCP(name, listener)
	}
	<-ctx.Done()
	return nil
}

func serveTCP(name string, l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			fmt.Fprintf(c, "%s %s\n", name, host)
			c.Close()
		}()
	}
}

func serveUDP(name string, c net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		_, peer, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(peer.String())
		_, _ = c.WriteTo([]byte(name+" "+host+"\n"), peer)
	}
}

// bind listens on each port for a moment.
func bind(ports string) error {
	proto, span, _ := strings.Cut(ports, ":")
	first, last, ok := strings.Cut(span, "-")
	if !ok {
		last = first
	}
	from, err := strconv.Atoi(first)
	if err != nil {
		return err
	}
	to, err := strconv.Atoi(last)
	if err != nil {
		return err
	}
	taken := 0
	for port := from; port <= to; port++ {
		var c io.Closer
		addr := fmt.Sprint(":", port)
		if proto == "udp" {
			c, err = net.ListenPacket("udp4", addr)
		} else {
			c, err = net.Listen("tcp4", addr)
		}
		if err != nil {
			taken++
			fmt.Println(port, err)
			continue
		}
		c.Close()
	}
	if taken > 0 {
		return fmt.Errorf("%d ports are taken", taken)
	}
	return nil
}

func get(target string, patience time.Duration) error { return getTo(os.Stdout, target, patience) }

func getTo(w io.Writer, target string, patience time.Duration) error {
	proto, addr, _ := strings.Cut(target, ":")
	c, err := net.DialTimeout(proto, addr, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if proto == "udp" {
		if _, err := c.Write([]byte("?\n")); err != nil {
			return err
		}
		buf := make([]byte, 1500)
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		_, err = w.Write(buf[:n])
		return err
	}
	answer, err := io.ReadAll(c)
	if err == nil && len(answer) == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	_, err = w.Write(answer)
	return err
}
