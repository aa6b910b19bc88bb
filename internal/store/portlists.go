package store

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/jackstay/jackstay/internal/model"
)

// A container may publish thousands of ports, and its record is written whole
// with each change. So its lists of ports are one string each, which is made in
// a tenth of the time that JSON takes for lists of objects.

// onDisk is a container as its record has it: with lists of ports as strings.
type onDisk struct {
	*model.Container
	Host              hostOnDisk
	Ports, Remembered *portList
}

type hostOnDisk struct {
	*model.HostConfig
	PortBindings *portList
}

// portList is a list of ports, or the JSON of one: as layout 1 had it, and of
// what no string can hold.
type portList string

// UnmarshalJSON takes both.
func (l *portList) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] != '"' {
		*l = portList(data)
		return nil
	}
	return json.Unmarshal(data, (*string)(l))
}

// Items end with a semicolon, and what they are made of with a comma.
const itemEnd, fieldEnd = ';', ','

func encodeContainer(c *model.Container) ([]byte, error) {
	d := onDisk{Container: c, Host: hostOnDisk{HostConfig: &c.Host}}
	var err error
	if d.Host.PortBindings, err = joinPorts(c.Host.PortBindings, appendBinding); err != nil {
		return nil, err
	}
	if d.Ports, err = joinPorts(c.Ports, appendMapping); err != nil {
		return nil, err
	}
	if d.Remembered, err = joinPorts(c.Remembered, appendMapping); err != nil {
		return nil, err
	}
	return json.Marshal(d)
}

func decodeContainer(data []byte) (*model.Container, error) {
	c := new(model.Container)
	d := onDisk{Container: c, Host: hostOnDisk{HostConfig: &c.Host}}
	err := json.Unmarshal(data, &d)
	if err != nil {
		return nil, err
	}
	if c.Host.PortBindings, err = splitPorts(d.Host.PortBindings, parseBinding); err != nil {
		return nil, err
	}
	if c.Ports, err = splitPorts(d.Ports, parseMapping); err != nil {
		return nil, err
	}
	c.Remembered, err = splitPorts(d.Remembered, parseMapping)
	return c, err
}

// joinPorts makes a string of a list; nil of nil. add tells whether it could.
func joinPorts[T any](list []T, add func([]byte, T) ([]byte, bool)) (*portList, error) {
	if list == nil {
		return nil, nil
	}
	buf, ok := make([]byte, 0, 32*len(list)), true
	for _, v := range list {
		if buf, ok = add(buf, v); !ok {
			data, err := json.Marshal(list)
			l := portList(data)
			return &l, err
		}
		buf = append(buf, itemEnd)
	}
	l := portList(buf)
	return &l, nil
}

func splitPorts[T any](l *portList, parse func(fields []string) (T, error)) ([]T, error) {
	if l == nil {
		return nil, nil
	}
	text := string(*l)
	if strings.HasPrefix(text, "[") { // no address begins so
		var out []T
		err := json.Unmarshal([]byte(text), &out)
		return out, err
	}
	out := make([]T, 0, strings.Count(text, string(itemEnd)))
	for item := range strings.SplitSeq(strings.TrimSuffix(text, string(itemEnd)), string(itemEnd)) {
		if item == "" {
			continue
		}
		v, err := parse(strings.Split(item, string(fieldEnd)))
		if err != nil {
			return nil, fmt.Errorf("port %q: %w", item, err)
		}
		out = append(out, v)
	}
	return out, nil
}

func appendMapping(buf []byte, m model.PortMapping) ([]byte, bool) {
	buf = append(m.HostIP.AppendTo(buf), fieldEnd)
	buf = append(strconv.AppendUint(buf, uint64(m.HostPort), 10), fieldEnd)
	buf = append(strconv.AppendUint(buf, uint64(m.Port.Number), 10), fieldEnd)
	return append(buf, m.Port.Proto...), plain(m.Port.Proto, m.HostIP.Zone())
}

func parseMapping(f []string) (m model.PortMapping, err error) {
	if len(f) != 4 {
		return m, fmt.Errorf("%d fields, want 4", len(f))
	}
	m.Port.Proto = f[3]
	return m, parseAll(addrField(&m.HostIP, f[0]), numberField(&m.HostPort, f[1]), numberField(&m.Port.Number, f[2]))
}

func appendBinding(buf []byte, b model.PortBinding) ([]byte, bool) {
	buf, ok := appendMapping(buf, model.PortMapping{HostIP: b.HostIP, HostPort: b.HostPort, Port: b.Port})
	buf = append(strconv.AppendUint(append(buf, fieldEnd), uint64(b.HostPortEnd), 10), fieldEnd)
	buf = append(append(buf, b.HostIPGiven...), fieldEnd)
	return append(buf, b.HostPortGiven...), ok && plain(b.HostIPGiven, b.HostPortGiven)
}

func parseBinding(f []string) (b model.PortBinding, err error) {
	if len(f) != 7 {
		return b, fmt.Errorf("%d fields, want 7", len(f))
	}
	m, err := parseMapping(f[:4])
	b = model.PortBinding{Port: m.Port, HostIP: m.HostIP, HostPort: m.HostPort, HostIPGiven: f[5], HostPortGiven: f[6]}
	return b, parseAll(err, numberField(&b.HostPortEnd, f[4]))
}

// plain tells whether texts can be fields.
func plain(texts ...string) bool {
	for _, t := range texts {
		if strings.ContainsAny(t, ";,") {
			return false
		}
	}
	return true
}

func parseAll(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func numberField(to *uint16, text string) error {
	n, err := strconv.ParseUint(text, 10, 16)
	*to = uint16(n)
	return err
}

func addrField(to *netip.Addr, text string) (err error) {
	if text != "" {
		*to, err = netip.ParseAddr(text)
	}
	return err
}
