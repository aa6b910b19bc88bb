package engine

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackstay/jackstay/internal/alloc"
	"github.com/jackstay/jackstay/internal/errs"
)

// optionPrefix begins the labels that carry what Docker's API has no field for,
// so that any client can ask for it: --label com.jackstay.mac-from=web.
const optionPrefix = "com.jackstay."

// options are what such labels ask of a container.
type options struct {
	mac        string     // of the first network: mac-from
	groups     []string   // security groups: sg
	later      []linkSpec // links whose targets may come later: link-later
	strict     bool       // links join no networks: strict
	rates      rateWishes // net-rate-in, net-rate-out
	fip        string     // auto, or the address or name of a floating IP
	exposeOnly bool
}

// readOption is how each option is read, by the label's name without the prefix.
var readOption = map[string]func(o *options, value string) error{
	"mac-from": func(o *options, value string) error {
		if value == "" {
			return errs.New(errs.Invalid, "give a word that the MAC address is made from")
		}
		o.mac = alloc.MACFrom(value)
		return nil
	},
	"sg": func(o *options, value string) (err error) {
		o.groups, err = splitList(value)
		return err
	},
	"link-later": func(o *options, value string) error {
		if value == "" {
			return errs.New(errs.Invalid, "give NAME[:ALIAS[:PORTS]], and several with a blank between them")
		}
		for _, raw := range strings.Fields(value) {
			spec, err := parseLink(raw)
			if err != nil {
				return err
			}
			o.later = append(o.later, spec)
		}
		return nil
	},
	"strict": func(o *options, value string) (err error) {
		if o.strict, err = strconv.ParseBool(value); err != nil {
			return errs.New(errs.Invalid, "give true or false")
		}
		return nil
	},
	"net-rate-in": func(o *options, value string) error {
		w, err := parseRateWish(value)
		o.rates.in = &w
		return err
	},
	"net-rate-out": func(o *options, value string) error {
		w, err := parseRateWish(value)
		o.rates.out = &w
		return err
	},
	"fip": func(o *options, value string) error {
		if value == "" {
			return errs.New(errs.Invalid, "give auto, or the address or the name of a floating IP")
		}
		o.fip = value
		return nil
	},
	"expose-only": func(o *options, value string) (err error) {
		if o.exposeOnly, err = strconv.ParseBool(value); err != nil {
			return errs.New(errs.Invalid, "it must be true or false")
		}
		return nil
	},
}

// splitList reads the members of a list.
func splitList(value string) ([]string, error) {
	members := strings.Split(value, ",")
	if slices.Contains(members, "") {
		return nil, errs.New(errs.Invalid, "give one name, or several with commas between them")
	}
	return members, nil
}

// readOptions gives the options among the labels of a request. An image's labels
// are no options: what it asks for is not its user's wish.
func readOptions(labels map[string]string) (options, error) {
	var o options
	for label, value := range labels {
		name, ours := strings.CutPrefix(label, optionPrefix)
		if !ours {
			continue
		}
		read, known := readOption[name]
		if !known {
			return o, errs.New(errs.Invalid, "unknown label %s: those that begin with %s are options of Jackstay: %s",
				label, optionPrefix, strings.Join(slices.Sorted(maps.Keys(readOption)), ", "))
		}
		if err := read(&o, value); err != nil {
			return o, errs.New(errs.Invalid, "invalid label %s=%s (--%s): %w", label, value, name, err)
		}
	}
	if o.exposeOnly && o.fip == "" {
		return o, errs.New(errs.Invalid, "--expose-only is about a floating IP: give one with --fip")
	}
	return o, nil
}
