package proxy

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"serin/internal/spelling"
	"serin/route"
)

// LogFormat is how a line of the access log is written: as JSON, or as a
// template of text and $fields, docs/OPERATIONS.md. The zero value is JSON.
// Text becomes a LogFormat by UnmarshalText, once; a line costs no parsing.
type LogFormat struct {
	text    string
	parts   []logPart // of a template; nil is JSON
	headers []string
}

// The formats that have a name.
var (
	LogJSON     = LogFormat{text: "json"}                                                                                                                // one object per line
	LogCommon   = named("common", `$client - - [$time_common] "$request" $response_status $response_body_size`)                                          // Apache's common log format
	LogCombined = named("combined", `$client - - [$time_common] "$request" $response_status $response_body_size "$header.Referer" "$header.User-Agent"`) // the same with referer and user agent
)

const (
	logTemplate = 4 << 10 // bytes of a template
	logHeaders  = 32      // $header fields of a template
)

// A logPart is a piece of text, or a field.
type logPart struct {
	text  string
	field func(b []byte, o *Outcome) []byte // nil for text
}

// String returns the format as it was written.
func (f LogFormat) String() string {
	if f.text == "" {
		return LogJSON.text
	}
	return f.text
}

// Headers returns the names of the request headers that the format needs; see
// Core.LogHeaders.
func (f LogFormat) Headers() []string { return f.headers }

// UnmarshalText reads json ("" too), common, combined, or a template with
// Fabio's $fields. "$$" is a dollar. An error says where the mistake is, in
// bytes from the start.
func (f *LogFormat) UnmarshalText(b []byte) error {
	switch s := string(b); {
	case s == "" || s == LogJSON.text:
		*f = LogJSON
	case s == LogCommon.text:
		*f = LogCommon
	case s == LogCombined.text:
		*f = LogCombined
	case !strings.Contains(s, "$"):
		return fmt.Errorf("access log format %.64q: want json, common, combined, or a template such as %q", s, "$remote_host $request $response_status")
	default:
		parsed, err := parseLogTemplate(s)
		if err != nil {
			return fmt.Errorf("access log format: %w", err)
		}
		*f = parsed
	}
	return nil
}

func named(name, template string) LogFormat {
	f, err := parseLogTemplate(template)
	if err != nil {
		panic(err)
	}
	f.text = name
	return f
}

func parseLogTemplate(s string) (LogFormat, error) {
	f := LogFormat{text: s}
	if len(s) > logTemplate {
		return f, fmt.Errorf("it has %d bytes, more than %d", len(s), logTemplate)
	}
	for i, r := range s {
		if unicode.IsControl(r) && r != '\t' || r == unicode.ReplacementChar {
			return f, fmt.Errorf("at offset %d: the character %q has no place in a line", i, r)
		}
	}
	for at := 0; at < len(s); {
		rest := s[at:]
		switch {
		case strings.HasPrefix(rest, "$$"):
			f.addText("$")
			at += 2
		case rest[0] == '$':
			name := rest[1 : 1+fieldLength(rest[1:])]
			if err := f.addField(name); err != nil {
				return f, fmt.Errorf("at offset %d: %w", at, err)
			}
			at += 1 + len(name)
		default:
			n := strings.IndexByte(rest, '$')
			if n < 0 {
				n = len(rest)
			}
			f.addText(rest[:n])
			at += n
		}
	}
	return f, nil
}

// fieldLength returns how long the field's name is that s begins with.
func fieldLength(s string) int {
	const header = "header."
	n := 0
	isPart := func(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' }
	if strings.HasPrefix(s, header) {
		n = len(header)
		isPart = func(c byte) bool {
			return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
		}
	}
	for n < len(s) && isPart(s[n]) {
		n++
	}
	return n
}

func (f *LogFormat) addText(s string) { f.parts = append(f.parts, logPart{text: s}) }

func (f *LogFormat) addField(name string) error {
	header, isHeader := strings.CutPrefix(name, "header.")
	field := logFields[name]
	switch {
	case isHeader:
		var err error
		if field, err = f.headerField(header); err != nil {
			return err
		}
	case field == nil && name == "":
		return fmt.Errorf("a $ without a field: write $$ for a dollar")
	case field == nil:
		return fmt.Errorf("unknown field $%s%s", name, nearestField(name))
	}
	f.parts = append(f.parts, logPart{field: field})
	return nil
}

// headerField returns the field of a request header.
func (f *LogFormat) headerField(name string) (func([]byte, *Outcome) []byte, error) {
	switch name = canonical(name); name {
	case "":
		return nil, fmt.Errorf("$header. without a name: write $header.NAME")
	case "Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie":
		return nil, fmt.Errorf("$header.%s is a secret, which never gets into a log", name)
	case "Referer":
		return func(b []byte, o *Outcome) []byte { return appendField(b, o.Referer) }, nil
	case "User-Agent":
		return func(b []byte, o *Outcome) []byte { return appendField(b, o.UserAgent) }, nil
	case "Host":
		return func(b []byte, o *Outcome) []byte { return appendField(b, o.Host) }, nil
	}
	i := slices.Index(f.headers, name)
	if i < 0 {
		if i = len(f.headers); i == logHeaders {
			return nil, fmt.Errorf("more than %d headers", logHeaders)
		}
		f.headers = append(f.headers, name)
	}
	return func(b []byte, o *Outcome) []byte {
		if i >= len(o.Logged) {
			return append(b, '-')
		}
		return appendField(b, o.Logged[i])
	}, nil
}

// append appends the line of o without its end.
func (f *LogFormat) append(b []byte, o *Outcome) []byte {
	for i := range f.parts {
		if p := &f.parts[i]; p.field != nil {
			b = p.field(b, o)
		} else {
			b = append(b, p.text...)
		}
	}
	return b
}

// logFields are the fields of templates but $header.NAME. Each appends its
// value, "-" where there is none, so that a line always has as many columns.
var logFields = map[string]func(b []byte, o *Outcome) []byte{
	"remote_addr": func(b []byte, o *Outcome) []byte {
		if !o.Remote.IsValid() {
			return append(b, '-')
		}
		return o.Remote.AppendTo(b)
	},
	"remote_host": func(b []byte, o *Outcome) []byte {
		if !o.Remote.IsValid() {
			return append(b, '-')
		}
		return o.Remote.Addr().AppendTo(b)
	},
	"remote_port": func(b []byte, o *Outcome) []byte {
		if !o.Remote.IsValid() {
			return append(b, '-')
		}
		return strconv.AppendUint(b, uint64(o.Remote.Port()), 10)
	},
	"client": func(b []byte, o *Outcome) []byte {
		if !o.Client.IsValid() {
			return append(b, '-')
		}
		return o.Client.AppendTo(b)
	},

	"request": func(b []byte, o *Outcome) []byte {
		b = appendURI(append(appendEscaped(b, o.Method), ' '), o.Path, o.Query)
		return appendEscaped(append(b, ' '), o.HTTPVersion)
	},
	"request_args":   func(b []byte, o *Outcome) []byte { return appendField(b, o.Query) },
	"request_host":   func(b []byte, o *Outcome) []byte { return appendField(b, o.Host) },
	"request_id":     func(b []byte, o *Outcome) []byte { return appendField(b, o.RequestID) },
	"request_method": func(b []byte, o *Outcome) []byte { return appendField(b, o.Method) },
	"request_proto":  func(b []byte, o *Outcome) []byte { return appendField(b, o.HTTPVersion) },
	"request_scheme": func(b []byte, o *Outcome) []byte { return appendField(b, o.Scheme) },
	"request_uri":    func(b []byte, o *Outcome) []byte { return appendURI(b, o.Path, o.Query) },
	"request_url": func(b []byte, o *Outcome) []byte {
		b = append(append(b, o.Scheme...), "://"...)
		return appendURI(appendEscaped(b, o.Host), o.Path, o.Query)
	},
	"request_body_size": func(b []byte, o *Outcome) []byte { return strconv.AppendInt(b, o.Received, 10) },

	"response_body_size": func(b []byte, o *Outcome) []byte { return strconv.AppendInt(b, o.Sent, 10) },
	"response_status":    func(b []byte, o *Outcome) []byte { return strconv.AppendInt(b, int64(o.Status), 10) },
	"response_time_ms":   func(b []byte, o *Outcome) []byte { return appendSeconds(b, o.Duration, 3) },
	"response_time_us":   func(b []byte, o *Outcome) []byte { return appendSeconds(b, o.Duration, 6) },
	"response_time_ns":   func(b []byte, o *Outcome) []byte { return appendSeconds(b, o.Duration, 9) },

	"time_common":  func(b []byte, o *Outcome) []byte { return o.Start.AppendFormat(b, "02/Jan/2006:15:04:05 -0700") },
	"time_rfc3339": func(b []byte, o *Outcome) []byte { return o.Start.UTC().AppendFormat(b, time.RFC3339) },
	"time_rfc3339_ms": func(b []byte, o *Outcome) []byte {
		return o.Start.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
	},
	"time_rfc3339_us": func(b []byte, o *Outcome) []byte {
		return o.Start.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z07:00")
	},
	"time_rfc3339_ns": func(b []byte, o *Outcome) []byte {
		return o.Start.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000000Z07:00")
	},
	"time_unix_ms": func(b []byte, o *Outcome) []byte { return strconv.AppendInt(b, o.Start.UnixMilli(), 10) },
	"time_unix_us": func(b []byte, o *Outcome) []byte { return strconv.AppendInt(b, o.Start.UnixMicro(), 10) },
	"time_unix_ns": func(b []byte, o *Outcome) []byte { return strconv.AppendInt(b, o.Start.UnixNano(), 10) },

	"upstream_addr": func(b []byte, o *Outcome) []byte {
		if o.Target == nil {
			return append(b, '-')
		}
		return appendField(b, o.Target.Addr)
	},
	"upstream_host": func(b []byte, o *Outcome) []byte {
		host, _ := upstreamHostPort(o.Target)
		return appendField(b, host)
	},
	"upstream_port": func(b []byte, o *Outcome) []byte {
		_, port := upstreamHostPort(o.Target)
		return appendField(b, port)
	},
	"upstream_request_scheme": func(b []byte, o *Outcome) []byte { return appendField(b, upstreamScheme(o.Target)) },
	"upstream_request_uri": func(b []byte, o *Outcome) []byte {
		if o.UpstreamPath == "" {
			return append(b, '-')
		}
		return appendURI(b, o.UpstreamPath, o.Query)
	},
	"upstream_request_url": func(b []byte, o *Outcome) []byte {
		if o.UpstreamPath == "" || o.Target == nil {
			return append(b, '-')
		}
		b = append(append(b, upstreamScheme(o.Target)...), "://"...)
		return appendURI(appendEscaped(b, o.Target.Addr), o.UpstreamPath, o.Query)
	},
	"upstream_service": func(b []byte, o *Outcome) []byte { return appendField(b, o.Service) },
	"upstream_id": func(b []byte, o *Outcome) []byte {
		if o.Target == nil {
			return append(b, '-')
		}
		return appendField(b, o.Target.ID)
	},

	"arm":      func(b []byte, o *Outcome) []byte { return append(b, o.Arm.String()...) },
	"why":      func(b []byte, o *Outcome) []byte { return append(b, o.Why.String()...) },
	"class":    func(b []byte, o *Outcome) []byte { return append(b, o.Class.String()...) },
	"reason":   func(b []byte, o *Outcome) []byte { return appendField(b, o.Reason.String()) },
	"attempts": func(b []byte, o *Outcome) []byte { return strconv.AppendInt(b, int64(o.Attempts), 10) },
	"error": func(b []byte, o *Outcome) []byte {
		if o.Err == nil {
			return append(b, '-')
		}
		return appendField(b, o.Err.Error())
	},
}

// LogFields returns the names of the fields of templates, without their "$" and
// but for header.NAME, in order.
func LogFields() []string { return slices.Sorted(maps.Keys(logFields)) }

// appendField appends a value that may be empty.
func appendField(b []byte, s string) []byte {
	if s == "" {
		return append(b, '-')
	}
	return appendEscaped(b, s)
}

func appendURI(b []byte, path, query string) []byte {
	b = appendEscaped(b, path)
	if query != "" {
		b = appendEscaped(append(b, '?'), query)
	}
	return b
}

// appendSeconds appends d in seconds with so many decimals, cut off.
func appendSeconds(b []byte, d time.Duration, decimals int) []byte {
	d = max(d, 0)
	b = append(strconv.AppendInt(b, int64(d/time.Second), 10), '.')
	left := int64(d % time.Second)
	for unit := int64(1e8); decimals > 0; decimals, unit = decimals-1, unit/10 {
		b = append(b, byte('0'+left/unit%10))
	}
	return b
}

func upstreamHostPort(t *route.Target) (host, port string) {
	if t == nil {
		return "", ""
	}
	host, port, err := net.SplitHostPort(t.Addr)
	if err != nil {
		return t.Addr, ""
	}
	return host, port
}

func upstreamScheme(t *route.Target) string {
	switch {
	case t == nil:
		return ""
	case t.Options != nil && t.Options.Proto == route.HTTPS:
		return "https"
	}
	return "http"
}

// nearestField returns a hint when name is close to a known field.
func nearestField(name string) string {
	if near := spelling.Nearest(name, LogFields()); near != "" {
		return " (did you mean $" + near + "?)"
	}
	return ""
}
