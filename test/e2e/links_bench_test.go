package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/kernel/netns"
	"github.com/jackstay/jackstay/test/host"
)

// BenchmarkLinkAdd adds a link between two networks through the API, beside as
// many others, and says when the first connection along it was answered, counted
// from the call's return, and when an alias added live was resolved.
func BenchmarkLinkAdd(b *testing.B) {
	for _, others := range []int{0, 1000} {
		b.Run(fmt.Sprint("beside ", others), func(b *testing.B) {
			h := host.New(b)
			h.J("network", "create", "front")
			h.J("network", "create", "back")
			h.J("run", "-d", "--name", "web", "--network", "front", "busybox", "sleep", "1000")
			serve(h, "db", "--network", "back")
			client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
				return net.Dial("unix", h.Socket())
			}}}
			call := func(method, path, body string) {
				req, _ := http.NewRequest(method, "http://j"+path, bytes.NewReader([]byte(body)))
				req.Header.Set("Content-Type", "application/json")
				res, err := client.Do(req)
				if err != nil {
					b.Fatal(err)
				}
				text, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if res.StatusCode >= 300 {
					b.Fatalf("%s %s: %s", method, path, text)
				}
			}
			for i := range others { // ten containers' links, with a hundred each
				if i%100 == 0 {
					h.J("run", "-d", "--name", fmt.Sprint("c", i/100), "--network", "front", "busybox", "sleep", "1000")
				}
				call("POST", fmt.Sprint("/containers/c", i/100, "/links"), fmt.Sprintf(`{"Target":"db","Alias":"a%d","Ports":["%d"]}`, i, 1000+2*i))
			}
			addr := h.IP("db", "back") + ":8000"
			ns, err := os.Open("/proc/" + h.J("inspect", "-f", "{{.State.Pid}}", "web") + "/ns/net")
			if err != nil {
				b.Fatal(err)
			}
			defer ns.Close()
			inside := func(f func()) {
				if err := netns.DoFD(int(ns.Fd()), func() error { f(); return nil }); err != nil {
					b.Fatal(err)
				}
			}
			resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var c net.Conn
				var err error
				inside(func() { c, err = net.Dial("udp", "127.0.0.11:53") })
				return c, err
			}}
			var adding, linked, aliasing, named time.Duration
			worst := time.Duration(0)
			rounds := 0
			for b.Loop() {
				rounds++
				start := time.Now()
				call("POST", "/containers/web/links", `{"Target":"db","Alias":"store"}`)
				returned := time.Now()
				inside(func() {
					for {
						c, err := net.DialTimeout("tcp", addr, time.Second)
						if err == nil {
							c.Close()
							return
						}
					}
				})
				took := time.Since(returned)
				adding, linked, worst = adding+returned.Sub(start), linked+took, max(worst, took)
				call("DELETE", "/containers/web/links?alias=store", "")
				time.Sleep(50 * time.Millisecond) // its tracked flows end beside the call

				start = time.Now()
				name := fmt.Sprint("n", rounds)
				call("POST", "/networks/front/aliases", `{"Container":"web","Aliases":["`+name+`"]}`)
				returned = time.Now()
				for {
					if a, err := resolver.LookupHost(b.Context(), name+"."); err == nil && strings.HasPrefix(a[0], "172.") {
						break
					}
				}
				took = time.Since(returned)
				aliasing, named, worst = aliasing+returned.Sub(start), named+took, max(worst, took)
				call("DELETE", "/networks/front/aliases?container=web&alias="+name, "")
			}
			for name, d := range map[string]time.Duration{"ms/link-add": adding, "ms/link-connected-after": linked, "ms/alias-add": aliasing, "ms/alias-resolved-after": named} {
				b.ReportMetric(float64(d.Microseconds())/1000/float64(rounds), name)
			}
			b.ReportMetric(float64(worst.Microseconds())/1000, "ms/worst")
		})
	}
}
