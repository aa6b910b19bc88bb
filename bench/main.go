// Command bench measures Jackstay beside dockerd and podman, whichever are
// installed, in one run on one machine, and prints a table with ratios.
//
//	BENCH=quick make bench           under three minutes
//	BENCH_ONLY=DNS make bench        rows whose name contains DNS
//	BENCH_ENGINE=podman make bench   this engine alone
//
// Every engine gets network, mount and process namespaces of its own; all of it
// is gone afterwards. The numbers go to bench/results as JSON too.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// imageTar is the archive every engine imports.
var imageTar string

// errSkipped marks a measure that doesn't apply to an engine or a scale.
var errSkipped = errors.New("skipped")

func main() {
	if len(os.Args) == 3 && os.Args[1] == "pong" {
		fatal(pong(os.Args[2]))
		return
	}
	if len(os.Args) == 4 && os.Args[1] == "ping" {
		fatal(ping(os.Args[2], os.Args[3]))
		return
	}
	if len(os.Args) == 2 && os.Args[1] == "init" {
		fatal(initSandbox())
	}
	if os.Geteuid() != 0 {
		fatal(errors.New("containers need root: sudo make bench"))
	}
	fatal(bench())
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// result is one number of one engine.
type result struct {
	Measure, Unit, Engine string
	Value                 float64
	Error                 string `json:",omitempty"`
}

func bench() error {
	s := scale{runs: 15, many: 200, ports: []int{1, 100, 1000}, seconds: 5, restart: 100}
	if os.Getenv("BENCH") == "quick" {
		s = scale{runs: 5, many: 25, ports: []int{1, 100}, seconds: 2, restart: 15}
	}
	bin, err := filepath.Abs("bin")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "jsb")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	imageTar = filepath.Join(dir, "image.tar")
	if err := host.MakeBusyboxTar(imageTar, filepath.Join(bin, "probe")); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var results []result
	var names []string
	for _, make := range available() {
		e, err := make(bin)
		if err != nil {
			return err
		}
		if only := os.Getenv("BENCH_ENGINE"); only == "" || strings.Contains(only, e.name) {
			names = append(names, e.name)
			err = measureAll(ctx, e, s, &results)
		}
		e.close()
		if err != nil {
			return err
		}
	}
	print(results, names)
	return save(results)
}

// measureAll brings an engine up and takes every measure of it; one that fails
// is a result too.
func measureAll(ctx context.Context, e *engine, s scale, results *[]result) error {
	if err := e.up(); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s %s\n", e.name, e.version)
	for _, m := range measures() {
		if !strings.Contains(m.name, os.Getenv("BENCH_ONLY")) {
			continue
		}
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		start := time.Now()
		value, err := m.take(e, s)
		r := result{Measure: m.name, Unit: m.unit, Engine: e.name, Value: value}
		if err != nil {
			r.Value, r.Error = 0, err.Error()
		}
		*results = append(*results, r)
		fmt.Fprintf(os.Stderr, "  %-40s %10.3f %-3s %s(%.0f s)\n", m.name, r.Value, m.unit, r.Error, time.Since(start).Seconds())
	}
	return nil
}

// print writes the table: a row a measure, a column an engine, and ratios of
// the others to ours.
func print(results []result, names []string) {
	at := map[[2]string]result{}
	for _, r := range results {
		at[[2]string{r.Measure, r.Engine}] = r
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\t\t")
	for i, n := range names {
		fmt.Fprint(w, n, "\t")
		if i > 0 {
			fmt.Fprint(w, n, "/", names[0], "\t")
		}
	}
	fmt.Fprintln(w)
	for _, m := range measures() {
		ours, ok := at[[2]string{m.name, names[0]}]
		if !ok {
			continue
		}
		fmt.Fprint(w, m.name, "\t", m.unit, "\t")
		for i, n := range names {
			r := at[[2]string{m.name, n}]
			switch {
			case r.Error == errSkipped.Error():
				fmt.Fprint(w, "–\t")
			case r.Error != "":
				fmt.Fprint(w, "failed\t")
			default:
				fmt.Fprintf(w, "%.4g\t", r.Value)
			}
			if i == 0 {
				continue
			}
			if r.Error != "" || ours.Error != "" || ours.Value == 0 {
				fmt.Fprint(w, "–\t")
			} else {
				fmt.Fprintf(w, "%.2f\t", r.Value/ours.Value)
			}
		}
		fmt.Fprintln(w)
	}
	w.Flush()
}

// save writes the JSON beside the table.
func save(results []result) error {
	kernel, _ := exec.Command("uname", "-r").Output()
	now := time.Now().UTC()
	out, err := json.MarshalIndent(map[string]any{"time": now, "kernel": strings.TrimSpace(string(kernel)), "results": results}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll("bench/results", 0o755); err != nil {
		return err
	}
	path := "bench/results/" + now.Format("20060102-150405") + ".json"
	fmt.Println("\n" + path)
	return os.WriteFile(path, append(out, '\n'), 0o644)
}
