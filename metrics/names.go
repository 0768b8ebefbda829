package metrics

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"text/template"
)

// maxPath is the longest name that is sent: what is longer is cut.
const maxPath = 512

// Names makes the names under which samples are sent. It is made by ParseNames
// and safe for concurrent use.
type Names struct {
	prefix string
	form   *template.Template // nil is the values of the labels in order

	mu    sync.Mutex
	paths map[string]string // by Sample.key: those of the last two rounds
	last  map[string]string
}

// ParseNames reads the templates of metrics.prefix and metrics.names, as Fabio
// has them. prefix may use {{.Hostname}} and {{.Exec}}, the program's name;
// names is the form of the labels of a series that has a service and may use
// {{.Service}}, {{.TargetURL.Host}} (the instance's address) and
// {{.Label "arm"}}; .Host and .Path are empty. "clean" makes a text one part of
// a name. Labels that names does not mention follow it, in the order of their
// names, so that no two series are one. Both may be "".
func ParseNames(prefix, names string) (*Names, error) {
	n := &Names{paths: map[string]string{}}
	host, _ := os.Hostname()
	t, err := newTemplate("metrics.prefix", prefix)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, struct{ Hostname, Exec string }{host, filepath.Base(os.Args[0])}); err != nil {
		return nil, fmt.Errorf("metrics.prefix: %w", err)
	}
	n.prefix = strings.Trim(safe(b.String()), ".")
	if names == "" {
		return n, nil
	}
	if n.form, err = newTemplate("metrics.names", names); err != nil {
		return nil, err
	}
	if err := n.form.Execute(new(bytes.Buffer), form{labels: []Label{{"service", "web"}}, used: map[string]bool{}}); err != nil {
		return nil, fmt.Errorf("metrics.names: %w", err)
	}
	return n, nil
}

func newTemplate(name, text string) (*template.Template, error) {
	t, err := template.New(name).Option("missingkey=error").Funcs(template.FuncMap{"clean": clean}).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

// Name returns the sample's name with the prefix, for receivers that know
// labels.
func (n *Names) Name(s Sample) string { return join(n.prefix, safe(s.Name)) }

// Path returns a name that holds the sample's labels too, for receivers that
// know none.
func (n *Names) Path(s Sample) string {
	if s.key == "" {
		return n.path(s)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	p, ok := n.paths[s.key]
	if !ok {
		if p, ok = n.last[s.key]; !ok {
			p = n.path(s)
		}
		n.paths[s.key] = p
	}
	return p
}

// round forgets the paths that were not asked for since the round before last.
func (n *Names) round() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last, n.paths = n.paths, make(map[string]string, len(n.paths))
}

func (n *Names) path(s Sample) string {
	parts := []string{n.Name(s)}
	used := map[string]bool{}
	if n.form != nil && label(s.Labels, "service") != "" {
		var b bytes.Buffer
		if err := n.form.Execute(&b, form{s.Labels, used}); err != nil { // it was executed before
			clear(used)
		} else if p := strings.Trim(safe(b.String()), "."); p != "" {
			parts = append(parts, p)
		}
	}
	for _, l := range s.Labels {
		if !used[l.Name] {
			parts = append(parts, clean(l.Value))
		}
	}
	p := strings.Join(parts, ".")
	return p[:min(len(p), maxPath)]
}

// form is what metrics.names is executed with.
type form struct {
	labels []Label
	used   map[string]bool
}

// Label returns the value of a label, "" where the series has none.
func (f form) Label(name string) string {
	f.used[name] = true
	return label(f.labels, name)
}

// Service returns the service.
func (f form) Service() string { return f.Label("service") }

// TargetURL has the address of the instance as its Host.
func (f form) TargetURL() struct{ Host string } { return struct{ Host string }{f.Label("addr")} }

// Host and Path are parts of Fabio's names; no series of ours has them.
func (f form) Host() string { return "" }

// Path is empty; see Host.
func (f form) Path() string { return "" }

func label(labels []Label, name string) string {
	for _, l := range labels {
		if l.Name == name {
			return l.Value
		}
	}
	return ""
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

// clean makes a text one part of a name: in lower case, with "_" for all but
// letters, digits, "-" and "_", and for nothing.
func clean(s string) string {
	if s == "" {
		return "_"
	}
	return strings.ReplaceAll(safe(strings.ToLower(s)), ".", "_")
}

// safe replaces what has a meaning, or may have one, in a receiver's protocol.
func safe(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '_'
	}, s)
}
