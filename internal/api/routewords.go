package api

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/jackstay/jackstay/internal/model"
)

// wordReader reads ip(8)'s words: a keyword and its value after another.
type wordReader struct {
	what  string // for errors
	words []string
}

func (w *wordReader) next() string {
	if len(w.words) == 0 {
		return ""
	}
	word := w.words[0]
	w.words = w.words[1:]
	return word
}

// value gives the word after a keyword.
func (w *wordReader) value(key string) (string, error) {
	v := w.next()
	if v == "" {
		return "", invalid("%s: a value is missing after %q", w.what, key)
	}
	return v, nil
}

func (w *wordReader) number(key string) (int, error) {
	v, err := w.value(key)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(v, 0, 31)
	if err != nil {
		return 0, invalid("%s: %s %q is no number", w.what, key, v)
	}
	return int(n), nil
}

func (w *wordReader) table(key string) (int, error) {
	if len(w.words) > 0 {
		names := map[string]int{"main": 254, "local": 255, "default": 253}
		if n, ok := names[w.words[0]]; ok {
			w.next()
			return n, nil
		}
	}
	return w.number(key)
}

func (w *wordReader) addr(key string) (netip.Addr, error) {
	v, err := w.value(key)
	if err != nil {
		return netip.Addr{}, err
	}
	a, err := netip.ParseAddr(v)
	if err != nil {
		return a, invalid("%s: %s %q is no address", w.what, key, v)
	}
	return a, nil
}

// prefix reads an address with or without a length, or default and all.
func (w *wordReader) prefix(key string) (p netip.Prefix, err error) {
	v, err := w.value(key)
	if err != nil {
		return p, err
	}
	return w.toPrefix(v)
}

func (w *wordReader) toPrefix(v string) (p netip.Prefix, err error) {
	if a, err := netip.ParseAddr(v); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	if p, err = netip.ParsePrefix(v); err != nil {
		return p, invalid("%s: %q is no address or subnet", w.what, v)
	}
	return p.Masked(), nil
}

// parseRoute reads a route as `ip route` does: [TYPE] DST [via A] [dev I] [src A]
// [metric N] [table T] [mtu N] [onlink]. For one that is deleted DST is enough.
func parseRoute(words []string, del bool) (model.Route, error) {
	w := &wordReader{what: "route " + strings.Join(words, " "), words: words}
	var r model.Route
	if len(words) > 0 && (words[0] == "-6" || words[0] == "-4") {
		r.V6 = w.next() == "-6"
	}
	dst := w.next()
	switch dst {
	case "blackhole", "unreachable", "prohibit":
		r.Type = dst
		dst = w.next()
	case "unicast":
		dst = w.next()
	case "to":
		dst = w.next()
	}
	if dst == "" {
		return r, invalid("route: the destination is missing: give a subnet, an address, or default")
	}
	if dst != "default" {
		p, err := w.toPrefix(dst)
		if err != nil {
			return r, err
		}
		if r.V6 = p.Addr().Is6(); p.Bits() > 0 {
			r.Dst = p
		}
	}
	var err error
	for word := w.next(); word != "" && err == nil; word = w.next() {
		switch word {
		case "via":
			r.Via, err = w.addr(word)
		case "dev":
			r.Dev, err = w.value(word)
		case "src":
			r.Src, err = w.addr(word)
		case "metric", "preference":
			r.Metric, err = w.number(word)
		case "table":
			r.Table, err = w.table(word)
		case "mtu":
			r.MTU, err = w.number(word)
		case "onlink":
			r.OnLink = true
		default:
			err = invalid("%s: unknown word %q: there are via, dev, src, metric, table, mtu and onlink", w.what, word)
		}
	}
	if err != nil {
		return r, err
	}
	return r, checkRouteFamily(w.what, &r, del)
}

func checkRouteFamily(what string, r *model.Route, del bool) error {
	if !r.Dst.IsValid() && r.Via.IsValid() {
		r.V6 = r.Via.Is6()
	}
	for _, a := range []netip.Addr{r.Via, r.Src} {
		if a.IsValid() && a.Is6() != r.V6 {
			return invalid("%s: %s is of another family than the destination", what, a)
		}
	}
	if r.Table == 254 {
		r.Table = 0
	}
	if r.OnLink && (r.Dev == "" || !r.Via.IsValid()) {
		return invalid("%s: onlink needs both via and dev", what)
	}
	if !del && r.Type != "" && (r.Via.IsValid() || r.Dev != "") {
		return invalid("%s: a %s route leads nowhere: leave via and dev out", what, r.Type)
	}
	return nil
}

// parseRule reads a rule as `ip rule` does: [not] [from P] [to P] [iif I] [oif I]
// [fwmark M[/MASK]] [priority N] [table T | blackhole | unreachable | prohibit].
func parseRule(words []string) (model.RouteRule, error) {
	w := &wordReader{what: "rule " + strings.Join(words, " "), words: words}
	var r model.RouteRule
	var err error
	v6 := map[bool]bool{}
	if len(words) > 0 && (words[0] == "-6" || words[0] == "-4") {
		v6[w.next() == "-6"] = true
	}
	prefix := func(word string) (p netip.Prefix, err error) {
		if len(w.words) > 0 && (w.words[0] == "all" || w.words[0] == "any" || w.words[0] == "default") {
			w.next()
			return p, nil
		}
		if p, err = w.prefix(word); err == nil {
			v6[p.Addr().Is6()] = true
		}
		return p, err
	}
	for word := w.next(); word != "" && err == nil; word = w.next() {
		switch word {
		case "not":
			r.Not = true
		case "from":
			r.From, err = prefix(word)
		case "to":
			r.To, err = prefix(word)
		case "iif", "dev":
			r.IIf, err = w.value(word)
		case "oif":
			r.OIf, err = w.value(word)
		case "fwmark":
			r.Mark, r.Mask, err = w.mark()
		case "priority", "pref", "preference", "order":
			r.Priority, err = w.number(word)
		case "table", "lookup":
			r.Table, err = w.table(word)
		case "blackhole", "unreachable", "prohibit":
			r.Action = word
		default:
			err = invalid("%s: unknown word %q: there are not, from, to, iif, oif, fwmark, priority, table, blackhole, unreachable and prohibit", w.what, word)
		}
	}
	switch {
	case err != nil:
		return r, err
	case len(v6) > 1:
		return r, invalid("%s: its addresses are of two families", w.what)
	case r.Table == 0 && r.Action == "":
		r.Table = 254 // as ip(8) has it
	}
	r.V6 = v6[true]
	return r, nil
}

func (w *wordReader) mark() (mark, mask uint32, err error) {
	v, err := w.value("fwmark")
	if err != nil {
		return 0, 0, err
	}
	m, k, masked := strings.Cut(v, "/")
	a, errA := strconv.ParseUint(m, 0, 32)
	b, errB := uint64(0), error(nil)
	if masked {
		b, errB = strconv.ParseUint(k, 0, 32)
	}
	if errA != nil || errB != nil || a == 0 {
		return 0, 0, invalid("%s: fwmark %q is no mark: give a number from 1 on, with a mask after a slash", w.what, v)
	}
	return uint32(a), uint32(b), nil
}
