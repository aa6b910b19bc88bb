// Command guestbook is a web page that counts its visits in Redis, the small
// application of `make demo`. It looks for Redis under the name in REDIS_HOST
// (redis) and shows which address that name led to, or, on a red page, why it
// found none.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"html/template"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// timeout bounds the whole talk with Redis, name resolution included.
const timeout = 2 * time.Second

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Guestbook</title>
<style>body{font:1.2em/1.5 sans-serif;max-width:36em;margin:4em auto;padding:0 1em}
.bad{background:#b00020;color:#fff}.bad code{color:#fff}</style></head>
<body{{if .Err}} class="bad"{{end}}>
{{if .Err}}<h1>No Redis</h1>
<p>This page would count its visits in a Redis called <code>{{.Name}}</code>, but: {{.Err}}</p>
{{else}}<h1>Visit number {{.Visits}}</h1>
<p>Counted in the Redis called <code>{{.Name}}</code>, found at <code>{{.Addr}}</code>.</p>
{{end}}<p>Served by <code>{{.Host}}</code>.</p>
</body></html>
`))

type visit struct {
	Name, Host, Addr string
	Visits           int
	Err              error
}

func main() {
	name := os.Getenv("REDIS_HOST")
	if name == "" {
		name = "redis"
	}
	listen := os.Getenv("LISTEN")
	if listen == "" {
		listen = ":80"
	}
	host, _ := os.Hostname()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		v := visit{Name: name, Host: host}
		v.Visits, v.Addr, v.Err = count(r.Context(), name)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if v.Err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		if err := page.Execute(w, v); err != nil {
			log.Printf("write page: %v", err)
		}
	})
	server := &http.Server{Addr: listen, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	// The first process of a container gets no default action for signals: stop by hand.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	log.Printf("listening on %s, counting in %s", listen, name)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// count adds one to the counter and gives its value and Redis's address.
func count(ctx context.Context, name string) (visits int, addr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(name, "6379"))
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return 0, "", err
	}
	// https://redis.io/docs/latest/develop/reference/protocol-spec/: an array of
	// bulk strings goes, an integer (:) or an error (-) comes.
	if _, err := fmt.Fprint(conn, "*2\r\n$4\r\nINCR\r\n$6\r\nvisits\r\n"); err != nil {
		return 0, "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return 0, "", err
	}
	number, ok := strings.CutPrefix(strings.TrimSpace(line), ":")
	if !ok {
		return 0, "", fmt.Errorf("%s answered %q", name, strings.TrimSpace(line))
	}
	visits, err = strconv.Atoi(number)
	return visits, conn.RemoteAddr().String(), err
}
