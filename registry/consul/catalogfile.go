package consul

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"serin/registry"

	"github.com/hashicorp/consul/api"
)

// ReadCatalog reads a catalog from JSON: what Consul answers to
// GET /v1/health/service/NAME, with the instances of all services in one array.
// A list of such answers is read too, and an object that has them by name. The
// instances are judged under p as those of a living Consul are; Connect proxies
// and gateways are left out.
//
// An instance without an ID has the name of its service as its ID, as Consul
// gives it at registration. Everything else that Consul could not have answered
// is an error, which names the line and the column (in bytes, from 1); there is
// no partial result.
func ReadCatalog(r io.Reader, p registry.Policy) (*registry.Snapshot, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	f := catalogFile{data: data, at: map[instanceKey]int{}, services: map[string][]*api.ServiceEntry{}}
	if err := f.read(); err != nil {
		return nil, err
	}
	services := make([]*registry.Service, 0, len(f.names))
	for _, name := range f.names {
		read, err := toService(name, f.services[name], p)
		if err != nil {
			return nil, err
		}
		services = append(services, read.svc)
	}
	return registry.New(services...), nil
}

// instanceKey is what makes an instance one in Consul.
type instanceKey struct{ node, id string }

// catalogFile is what was read so far.
type catalogFile struct {
	data     []byte
	names    []string                       // of services, in the order of the file
	services map[string][]*api.ServiceEntry // by name
	at       map[instanceKey]int            // where each instance stands
}

// fault is an error at an offset of the file.
func (f *catalogFile) fault(offset int, format string, args ...any) error {
	before := f.data[:min(max(offset, 0), len(f.data))]
	line, column := 1+bytes.Count(before, []byte("\n")), len(before)-bytes.LastIndexByte(before, '\n')
	return fmt.Errorf("%d:%d: %w", line, column, fmt.Errorf(format, args...))
}

func (f *catalogFile) read() error {
	if len(bytes.TrimSpace(f.data)) == 0 {
		return f.fault(0, "the catalog is empty: write [] where there is no service")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(f.data, &whole); err != nil {
		offset := len(f.data)
		if e, ok := errors.AsType[*json.SyntaxError](err); ok {
			offset = int(e.Offset) - 1
		}
		return f.fault(offset, "not JSON: %w", err)
	}
	return f.list(0, "")
}

// list reads the list or object that begins at offset. Where it belongs to a
// named service all instances in it must be that one's.
func (f *catalogFile) list(offset int, service string) error {
	dec := json.NewDecoder(bytes.NewReader(f.data[offset:]))
	open, err := dec.Token()
	if err != nil {
		return f.fault(offset, "%w", err)
	}
	if open != json.Delim('[') && (open != json.Delim('{') || service != "") {
		return f.fault(f.skip(offset), "want a list of instances, as /v1/health/service/NAME answers it")
	}
	for dec.More() {
		name := service
		if open == json.Delim('{') {
			key, err := dec.Token()
			if err != nil {
				return f.fault(offset, "%w", err)
			}
			name, _ = key.(string)
		}
		begin := f.skip(offset + int(dec.InputOffset()))
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return f.fault(begin, "%w", err)
		}
		switch {
		case open == json.Delim('{') && raw[0] != '[':
			err = f.fault(begin, "service %q: want the list of its instances; without names, put the instances in one array", name)
		case raw[0] == '[':
			err = f.list(begin, name)
		default:
			err = f.instance(begin, raw, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// skip returns the offset of the value that follows offset.
func (f *catalogFile) skip(offset int) int {
	for offset < len(f.data) && bytes.IndexByte([]byte(" \t\r\n,:"), f.data[offset]) >= 0 {
		offset++
	}
	return offset
}

// instance reads one instance, of the named service unless that is "".
func (f *catalogFile) instance(offset int, raw []byte, service string) error {
	var e api.ServiceEntry
	if err := json.Unmarshal(raw, &e); err != nil {
		if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			if t.Field == "" {
				return f.fault(offset, "want an instance, not %s", t.Value)
			}
			return f.fault(offset+int(t.Offset)-1, "%s: want %s, not %s", t.Field, t.Type, t.Value)
		}
		return f.fault(offset, "%w", err)
	}
	switch {
	case e.Node == nil || e.Service == nil:
		return f.fault(offset, `the instance has no "Node" or no "Service": want elements of what /v1/health/service/NAME answers`)
	case e.Service.Service == "":
		return f.fault(offset, `the instance has no "Service": {"Service": NAME}`)
	case e.Node.Node == "":
		return f.fault(offset, `the instance of service %q has no "Node": {"Node": NAME}`, e.Service.Service)
	case service != "" && service != e.Service.Service:
		return f.fault(offset, "an instance of service %q stands among those of %q", e.Service.Service, service)
	}
	for i, c := range e.Checks {
		if c == nil {
			return f.fault(offset, "check %d of the instance is null", i)
		}
	}
	e.Service.ID = cmp.Or(e.Service.ID, e.Service.Service)
	key := instanceKey{e.Node.Node, e.Service.ID}
	if first, twice := f.at[key]; twice {
		return f.fault(offset, `instance %q of node %q is there twice, first in line %d: instances of a node differ in their "ID"`,
			key.id, key.node, 1+bytes.Count(f.data[:first], []byte("\n")))
	}
	f.at[key] = offset
	name := e.Service.Service
	if f.services[name] == nil {
		f.names = append(f.names, name)
	}
	f.services[name] = append(f.services[name], &e)
	return nil
}
