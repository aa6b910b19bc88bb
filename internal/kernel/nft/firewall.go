// Package nft keeps the tables `inet jackstay` and `bridge jackstay`: constant rules from ruleset.nft,
// loaded whole by nft(8), and elements of sets and maps, changed by netlink in
// one transaction. It implements reconcile.Firewall.
package nft

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"sync"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

const tableName = "jackstay"

// without deletes our tables. Deleting one that is not there is an error;
// declaring one that is, is not.
const without = "table inet " + tableName + "\ndelete table inet " + tableName + "\n" +
	"table bridge " + tableName + "\ndelete table bridge " + tableName + "\n"

//go:embed ruleset.nft
var ruleset string

// Options are a Firewall's settings.
type Options struct {
	Path string       // of nft(8); empty: found in PATH
	Log  *slog.Logger // nil: slog.Default()
}

// Firewall is the table in the network namespace it was made in. Its methods
// may be called at once; they wait for each other.
type Firewall struct {
	nft string
	log *slog.Logger

	mu      sync.Mutex
	k       *kernel         // nil: dialled by the next call
	refused map[string]bool // foreign chains that didn't take our rules at the last Load
	warned  map[string]bool // foreign chains that drop what we forward, told once

	hooks       hooks
	own         owners
	eventBuffer int // of Watch's socket, in bytes
	flows       flows
}

// New finds nft and checks its version; errs.Unavailable says what to install.
func New(ctx context.Context, o Options) (*Firewall, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	path, err := findNft(ctx, o.Path)
	if err != nil {
		return nil, err
	}
	f := &Firewall{nft: path, log: o.Log, refused: map[string]bool{}, warned: map[string]bool{}, eventBuffer: sockBuffer / 4}
	f.flows.log = o.Log
	return f, nil
}

// findNft gives the path of an nft that is new enough.
func findNft(ctx context.Context, path string) (string, error) {
	if path == "" {
		path = "nft"
	}
	abs, err := exec.LookPath(path)
	if err != nil {
		return "", errs.New(errs.Unavailable, "nft not found: %w; install the package nftables (1.0.0 or newer)", err)
	}
	out, err := exec.CommandContext(ctx, abs, "--version").CombinedOutput()
	if err != nil {
		return "", errs.New(errs.Unavailable, "%s --version: %w: %s; reinstall the package nftables", abs, err, firstLine(string(out)))
	}
	var major int
	if _, err := fmt.Sscanf(string(out), "nftables v%d.", &major); err != nil || major < 1 {
		return "", errs.New(errs.Unavailable, "%s is %q; 1.0.0 or newer is needed: update the package nftables", abs, firstLine(string(out)))
	}
	return abs, nil
}

// with gives f the socket; after an error the next call gets another one, as
// replies to what failed may still be waiting in it.
func (f *Firewall) with(do func(k *kernel) error) error {
	if f.k == nil {
		k, err := dial()
		if err != nil {
			return errs.Wrap(errs.Unavailable, err)
		}
		f.own.add(k.port)
		f.k = k
	}
	err := do(f.k)
	if err != nil {
		_ = f.k.CloseLasting()
		f.k = nil
	}
	return err
}

// Load replaces tables and elements in one transaction, puts our rules into the
// foreign chains that need them, and ends flows of ports that are published no
// more or elsewhere, and those that may have begun without the rules.
func (f *Firewall) Load(ctx context.Context, fw desired.Firewall) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	l, err := lay(fw)
	if err != nil {
		return fmt.Errorf("load firewall: %w", err)
	}
	f.keepHooks()
	before, _ := f.read(flowSets()) // what can't be read has nothing to end
	var b strings.Builder
	b.WriteString(dropTables())
	b.WriteString(ruleset)
	l.script(&b)
	if err := f.run(ctx, b.String()); err != nil {
		return fmt.Errorf("load firewall: %w", err)
	}
	if err := f.with(func(k *kernel) error {
		fp, err := k.fingerprint()
		if err != nil {
			return err
		}
		if err := k.SetAddElements(ourSet(setFingerprint), []nftables.SetElement{{Key: ifname(fp)}}); err != nil {
			return err
		}
		return k.Flush()
	}); err != nil {
		return fmt.Errorf("mark firewall as loaded: %w", err)
	}
	if err := f.loadForeign(fw.Bridges); err != nil {
		return err
	}
	e := changes(unlay(before), fw, fw)
	if e.stray, err = strays(fw); err != nil {
		return fmt.Errorf("end tracked flows: list the host's addresses: %w", err)
	}
	return f.flows.end(e)
}

// run feeds a script to nft: all of it happens or nothing.
func (f *Firewall) run(ctx context.Context, script string) error {
	cmd := exec.CommandContext(ctx, f.nft, "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return errs.New(errs.Unavailable, "start %s: %w; install the package nftables", f.nft, err)
	}
	// libmnl binds its socket to the process's ID.
	f.own.add(uint32(cmd.Process.Pid))
	defer f.own.retire(uint32(cmd.Process.Pid))
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("nft -f -: %w: %s", err, firstLine(out.String()))
	}
	return nil
}

// Update deletes and adds elements in one transaction. What is to be deleted
// may be absent and what is to be added present. A table that is not there is
// errs.Unavailable: Load is needed.
func (f *Firewall) Update(_ context.Context, add, del desired.Firewall) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	adds, err := lay(add)
	if err != nil {
		return fmt.Errorf("update firewall: %w", err)
	}
	dels, err := lay(del)
	if err != nil {
		return fmt.Errorf("update firewall: %w", err)
	}
	f.flows.waitFor(add)
	if err := f.update(adds, dels); err != nil {
		return fmt.Errorf("update firewall: %w", err)
	}
	if err := f.updateForeign(add.Bridges, del.Bridges); err != nil {
		return err
	}
	return f.flows.end(changes(del, add, add))
}

// updateTries bounds the retries of a batch that met a changed kernel.
const updateTries = 3

func (f *Firewall) update(adds, dels layout) error {
	if len(adds)+len(dels) == 0 {
		return nil
	}
	var err error
	for range updateTries {
		err = f.with(func(k *kernel) error { return k.commit(adds, dels) })
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.EBUSY) {
			return err
		}
		have, readErr := f.read(setNames())
		if readErr != nil {
			return errs.New(errs.Unavailable, "table inet %s can't be read and must be loaded again: %w", tableName, readErr)
		}
		adds, dels = correct(adds, dels, have)
		if len(adds)+len(dels) == 0 {
			return nil
		}
	}
	return err
}

// read gives the elements of some sets.
func (f *Firewall) read(sets []string) (layout, error) {
	l := layout{}
	err := f.with(func(k *kernel) error {
		for _, set := range sets {
			es, err := k.elements(set)
			if err != nil {
				return fmt.Errorf("read %s: %w", set, err)
			}
			if len(es) > 0 {
				l[set] = es
			}
		}
		return nil
	})
	return l, err
}

// observeTries bounds the retries of an observation during which somebody
// changed the ruleset.
const observeTries = 5

// Observe reads the elements. intact says that chains and rules are those that
// this version of Jackstay loads, whoever loaded them, that there is no element
// which fw can't tell, and that the foreign chains that need our rules have them.
func (f *Firewall) Observe(ctx context.Context) (fw desired.Firewall, intact bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keepHooks()
	for range observeTries {
		if err := ctx.Err(); err != nil {
			return fw, false, err
		}
		var same bool
		fw, intact, same, err = f.observe()
		if err != nil || same {
			break
		}
	}
	if err != nil {
		return fw, false, fmt.Errorf("observe firewall: %w", err)
	}
	return fw, intact, nil
}

func (f *Firewall) observe() (fw desired.Firewall, intact, same bool, err error) {
	var before, after uint32
	if err = f.with(func(k *kernel) error { before, err = k.generation(); return err }); err != nil {
		return
	}
	l, err := f.read(setNames())
	if errors.Is(err, unix.ENOENT) {
		return unlay(layout{}), false, true, nil
	}
	if err != nil {
		return
	}
	fw = unlay(l)
	if err = f.with(func(k *kernel) error {
		marks, err := k.elements(setFingerprint)
		if err != nil {
			return err
		}
		fp, err := k.fingerprint()
		if err != nil {
			return err
		}
		intact = len(marks) == 1 && name(marks[0].key) == fp && told(l, fw)
		if intact {
			missing, err := f.missingForeign(k, fw.Bridges)
			if err != nil {
				return err
			}
			intact = len(missing) == 0
		}
		after, err = k.generation()
		return err
	}); errors.Is(err, unix.ENOENT) {
		return fw, false, true, nil
	}
	return fw, intact, before == after, err
}

// Cleanup deletes the tables and our rules in foreign chains.
func (f *Firewall) Cleanup(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flows.wait()
	f.hooks.drop()
	return errors.Join(
		f.removeForeign(func(string) bool { return true }),
		f.run(ctx, dropTables()),
	)
}

// dropTables is the script that deletes our tables. Deleting one that is not
// there is an error; declaring one that is, is not.
func dropTables() string {
	var b strings.Builder
	for _, family := range []string{"inet", "bridge"} {
		fmt.Fprintf(&b, "table %[1]s %[2]s\ndelete table %[1]s %[2]s\n", family, tableName)
	}
	return b.String()
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}
