package route

import (
	"errors"
	"fmt"
	"math"
	"net/textproto"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"serin/internal/spelling"
)

// Limits of what the options of one rule may ask for.
const (
	maxHeaderEdits = 16  // of the request and of the response, together
	maxConditions  = 8   // headers and query parameters, together
	maxMethods     = 16  // of one condition
	maxName        = 128 // bytes in the name of a service or of a scheme of authentication
	maxTimeout     = 24 * time.Hour
	maxRetries     = 10
	maxMaxConn     = 1_000_000
	maxPriority    = 1000

	minRate, maxRate = 1e-6, 1e9 // requests a second
)

// Bounds of weight=: far enough apart for any use, near enough that no sum or
// quotient of weights leaves the range of a float64.
const (
	minWeight = 1e-9
	maxWeight = 1e9
)

// option is one row of the grammar of options. To support another one is to
// add its row.
type option struct {
	name, value, doc string
	// many says that the option may stand several times.
	many bool
	// group names options that say the same thing in different ways: where the
	// tag has one of them, none of the instance's meta counts.
	group string
	// parse changes the options by the value. What it leaves behind with an
	// error is meant only in the group "access".
	parse func(o *Options, value string) error
	// print tells what parse would have to be given, once for each option as
	// it must stand; nil where another row prints it too.
	print func(o *Options, word func(name, value string))
}

var tagOptions = [...]option{
	{name: "strip", value: "/path", group: "path", doc: "remove this prefix from the path before it is forwarded; it is sent as X-Forwarded-Prefix", parse: func(o *Options, v string) (err error) {
		if o.PathRewrite != nil {
			return errRewriteAndStrip
		}
		o.Strip, err = optionPath(v)
		return err
	}, print: func(o *Options, word func(name, value string)) { word("strip", o.Strip) }},
	{name: "prepend", value: "/path", group: "path", doc: "add this prefix to the path, after strip", parse: func(o *Options, v string) (err error) {
		if o.PathRewrite != nil {
			return errRewriteAndStrip
		}
		o.Prepend, err = optionPath(v)
		return err
	}, print: func(o *Options, word func(name, value string)) { word("prepend", o.Prepend) }},
	{name: "rewrite", value: "regex,replacement", group: "path", doc: "replace what the regular expression (RE2) matches in the path; $1 is its first group; in place of strip and prepend", parse: parseRewrite, print: func(o *Options, word func(name, value string)) {
		if o.PathRewrite != nil {
			word("rewrite", o.PathRewrite.String())
		}
	}},
	{name: "host", value: "name|dst", doc: "send this Host header; dst is the instance's own host:port", parse: func(o *Options, v string) (err error) {
		o.Host, _, err = parseOptionHost(v)
		return err
	}, print: func(o *Options, word func(name, value string)) { word("host", o.Host) }},
	{name: "proto", value: "http|https|tcp|grpc|grpcs", doc: "how the instance is spoken to", parse: parseProto, print: func(o *Options, word func(name, value string)) {
		if o.Proto != HTTP {
			word("proto", o.Proto.String())
		}
	}},
	boolean("tlsskipverify", "do not verify the instance's certificate", func(o *Options) *bool { return &o.TLSSkipVerify }),
	{name: "weight", value: "number", doc: "fixed share of the route's requests, 0.2 is 20 %; 0 is none; without it an even part of what is left", parse: parseWeight, print: func(o *Options, word func(name, value string)) {
		if o.Weight >= 0 {
			word("weight", formatNumber(o.Weight))
		}
	}},
	{name: "redirect", value: "code,url", doc: "answer with a redirect; $path is the path after strip and prepend, $host the request's host", parse: parseRedirect, print: func(o *Options, word func(name, value string)) {
		if o.Redirect != nil {
			word("redirect", strconv.Itoa(o.Redirect.Code)+","+o.Redirect.URL)
		}
	}},
	{name: "allow", value: "ip:network,…|none", group: "access", doc: "let only these networks and addresses in", parse: func(o *Options, v string) error {
		return parseAccess(o, false, v)
	}, print: func(o *Options, word func(name, value string)) {
		if o.Access != nil && !o.Access.Deny {
			word("allow", o.Access.String())
		}
	}},
	{name: "deny", value: "ip:network,…", group: "access", doc: "let these networks and addresses not in; not together with allow", parse: func(o *Options, v string) error {
		return parseAccess(o, true, v)
	}, print: func(o *Options, word func(name, value string)) {
		if o.Access != nil && o.Access.Deny {
			word("deny", o.Access.String())
		}
	}},
	{name: "auth", value: "name", doc: "ask for a user and password of the scheme of this name in proxy.auth; one that does not exist lets nobody in", parse: func(o *Options, v string) error {
		if len(v) > maxName || strings.ContainsAny(v, ` "`) {
			return fmt.Errorf("auth %s: the name of a scheme has 1 to %d bytes and no blank or quote", brief(v), maxName)
		}
		o.Auth = v
		return nil
	}, print: func(o *Options, word func(name, value string)) { word("auth", o.Auth) }},

	{name: "strategy", value: "p2c|least_conn|round_robin|random", doc: "how an instance is chosen; Fabio's rr and rnd are understood; a canary document's balance goes before it", parse: parseStrategy, print: func(o *Options, word func(name, value string)) {
		if o.HasBalance {
			word("strategy", strategies[o.Balance])
		}
	}},
	{name: "timeout", value: "duration", doc: "wait this long for the instance to begin its answer, such as 2s, from 1ms to 24h", parse: parseTimeout, print: func(o *Options, word func(name, value string)) {
		if o.Timeout > 0 {
			word("timeout", o.Timeout.String())
		}
	}},
	{name: "retries", value: "number", doc: "try this many other instances when one fails, 0 to 10", parse: func(o *Options, v string) error {
		return parseInt("retries", v, 0, maxRetries, &o.Retries)
	}, print: func(o *Options, word func(name, value string)) {
		if o.Retries >= 0 {
			word("retries", strconv.Itoa(o.Retries))
		}
	}},
	{name: "ratelimit", value: "number/s|m|h[,burst]", doc: "requests that the route takes on each balancer, in a second, minute or hour on average, and at once; above that 429", parse: parseRateLimit, print: func(o *Options, word func(name, value string)) {
		if o.RateLimit != nil {
			word("ratelimit", o.RateLimit.String())
		}
	}},
	{name: "maxconn", value: "number", doc: "requests in flight that the route takes on each balancer; above that 503", parse: func(o *Options, v string) error {
		return parseInt("maxconn", v, 1, maxMaxConn, &o.MaxConn)
	}, print: func(o *Options, word func(name, value string)) {
		if o.MaxConn > 0 {
			word("maxconn", strconv.Itoa(o.MaxConn))
		}
	}},
	edit(HeaderSet, "reqheader.set", "Name:value", "send the instance this header, and no other of its name"),
	edit(HeaderAdd, "reqheader.add", "Name:value", "send the instance this header too"),
	edit(HeaderRemove, "reqheader.remove", "Name", "do not send the instance this header"),
	edit(HeaderSet, "respheader.set", "Name:value", "send the client this header, and no other of its name"),
	edit(HeaderAdd, "respheader.add", "Name:value", "send the client this header too"),
	edit(HeaderRemove, "respheader.remove", "Name", "do not send the client this header"),
	{name: "methods", value: "GET,POST,…", doc: "serve only requests with one of these methods", parse: parseMethods, print: func(o *Options, word func(name, value string)) {
		if o.Condition != nil {
			word("methods", strings.Join(o.Condition.Methods, ","))
		}
	}},
	{name: "header", value: "Name:pattern", many: true, doc: "serve only requests whose header is like this", parse: parseHeaderMatch, print: func(o *Options, word func(name, value string)) {
		if o.Condition != nil {
			for _, m := range o.Condition.Headers {
				word("header", m.Name+":"+encodeValue(m.Pattern.String(), ""))
			}
		}
	}},
	{name: "query", value: "name:pattern", many: true, doc: "serve only requests whose query parameter is like this", parse: parseQueryMatch, print: func(o *Options, word func(name, value string)) {
		if o.Condition != nil {
			for _, m := range o.Condition.Query {
				word("query", encodeValue(m.Name, ":")+":"+encodeValue(m.Pattern.String(), ""))
			}
		}
	}},
	{name: "priority", value: "number", doc: "be tried before routes of the host with a lower one, whatever their path; -1000 to 1000, 0 without it", parse: func(o *Options, v string) error {
		return parseInt("priority", v, -maxPriority, maxPriority, &o.Priority)
	}, print: func(o *Options, word func(name, value string)) {
		if o.Priority != 0 {
			word("priority", strconv.Itoa(o.Priority))
		}
	}},

	{name: "register", value: "name", doc: "Serin registers itself as this service while the route exists", parse: func(o *Options, v string) error {
		if !isName(v) {
			return fmt.Errorf("register %s: the name of a service has 1 to %d letters, digits, dots, dashes or underscores", brief(v), maxName)
		}
		o.Register = v
		return nil
	}, print: func(o *Options, word func(name, value string)) { word("register", o.Register) }},
	boolean("pxyproto", "begin each connection to the instance with the header of the PROXY protocol", func(o *Options) *bool { return &o.ProxyProto }),
	{name: "grpcservername", value: "name", doc: "the name that the certificate of a grpcs instance must be valid for", parse: func(o *Options, v string) error {
		host, _, err := parseOptionHost(v)
		if _, port := splitPort(host); err == nil && port != "" {
			err = fmt.Errorf("grpcservername %s: a name without a port is wanted", brief(v))
		}
		if err == nil {
			o.GRPCServerName = host
		}
		return err
	}, print: func(o *Options, word func(name, value string)) { word("grpcservername", o.GRPCServerName) }},
}

// rowOf is tagOptions by name.
var rowOf = func() map[string]int {
	m := make(map[string]int, len(tagOptions))
	for i, row := range tagOptions {
		m[row.name] = i
	}
	return m
}()

// TagOptions yields the options of a tag as usage ("strip=/path") and meaning,
// for documentation.
func TagOptions(yield func(usage, doc string) bool) {
	for _, row := range tagOptions {
		if !yield(row.name+"="+row.value, row.doc) {
			return
		}
	}
}

// plain are the options of a tag without any.
func plain() Options { return Options{Weight: -1, Retries: -1} }

// ParseOptions parses options as they stand in a tag behind host and path, such
// as "strip=/api weight=0.2", for what is not a tag. The error names the byte
// offset in text. refused is what was wrong without being an error, because
// the options keep everybody out instead: see [Rule.Refused].
func ParseOptions(text string) (o Options, refused []error, err error) {
	if len(text) > maxTag {
		return plain(), nil, at(maxTag, "the options are %d bytes long: at most %d are read", len(text), maxTag)
	}
	if err := checkText("text", text, 0); err != nil {
		return plain(), nil, err
	}
	return parseOptions(text, 0, Defaults{})
}

// String returns the options as they stand in a tag, each after a blank, in
// the order of [TagOptions].
func (o *Options) String() string {
	var b strings.Builder
	for _, row := range tagOptions {
		if row.print != nil {
			row.print(o, func(name, value string) {
				if value != "" {
					b.WriteString(" " + name + "=" + value)
				}
			})
		}
	}
	return b.String()
}

// NotCarried returns the options whose traffic this version does not carry,
// although it reads them: "proto=tcp", "register". Routes with a proto among
// them answer nothing over HTTP; the others are served as if it were not there.
func (o *Options) NotCarried() (names []string) {
	if !o.Proto.Carried() {
		names = append(names, "proto="+o.Proto.String())
	}
	if o.Register != "" {
		names = append(names, "register")
	}
	if o.ProxyProto {
		names = append(names, "pxyproto")
	}
	if o.GRPCServerName != "" {
		names = append(names, "grpcservername")
	}
	return names
}

var protoNames = [...]string{HTTP: "http", HTTPS: "https", TCP: "tcp", GRPC: "grpc", GRPCS: "grpcs"}

// String returns the word that stands in tags.
func (p Proto) String() string { return protoNames[p] }

// Carried reports whether this version carries traffic to such instances.
func (p Proto) Carried() bool { return p == HTTP || p == HTTPS }

// isBlank reports whether c separates options.
func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// nextWord cuts the word at pos off, and the name of its option.
func nextWord(s string, pos int) (word, name, value string, assigned bool) {
	end := pos
	for end < len(s) && !isBlank(s[end]) {
		end++
	}
	word = s[pos:end]
	name, value, assigned = strings.Cut(word, "=")
	return word, name, value, assigned
}

// parseOptions reads the options of s from pos on, in front of which the
// defaults stand that s does not set.
func parseOptions(s string, pos int, d Defaults) (o Options, refused []error, err error) {
	if pos >= len(s) && len(d.words) == 0 {
		return plain(), nil, nil // most tags: without the memory that rows write to
	}
	return parseOptionWords(s, pos, d)
}

func parseOptionWords(s string, pos int, d Defaults) (o Options, refused []error, err error) {
	o = plain()
	var named [len(tagOptions)]bool
	protects := "" // the first option that keeps somebody out
	for i := pos; i < len(s); i++ {
		word, name, _, _ := nextWord(s, i)
		if row, ok := rowOf[name]; ok {
			named[row] = true
			if protects == "" && (tagOptions[row].group == "access" || name == "auth") {
				protects = name
			}
		}
		i += len(word)
	}
	d.apply(&o, &named) // what is wrong in them MetaOptions said
	var seen [len(tagOptions)]bool
	for pos < len(s) {
		if isBlank(s[pos]) {
			pos++
			continue
		}
		word, name, value, assigned := nextWord(s, pos)
		row, known := rowOf[name]
		var err error
		switch {
		case !known:
			err = at(pos, "unknown option %s%s", brief(name), didYouMean(name))
		case seen[row] && !tagOptions[row].many:
			err = at(pos, "option %q is given twice", name)
		case !assigned || value == "":
			err = at(pos+len(name), "option %q has no value: write %s=%s", name, name, tagOptions[row].value)
		default:
			if err = tagOptions[row].parse(&o, value); err != nil {
				err = at(pos+len(name)+1, "%w", err)
			}
		}
		if err != nil {
			if protects == "" {
				return plain(), nil, err
			}
			// Half a tag might leave its protection out, and the path would
			// then be served by a route that has none.
			proto := o.Proto
			o = plain()
			o.Proto, o.Access = proto, new(Access)
			e, _ := errors.AsType[*offsetError](err)
			return o, []error{at(e.offset, "%w; as the tag has %s=, its route lets nobody in until this is mended", e.err, protects)}, nil
		}
		seen[row] = true
		pos += len(word)
	}
	return o, refused, nil
}

// boolean is the row of an option that is true or false.
func boolean(name, doc string, field func(*Options) *bool) option {
	return option{name: name, value: "true|false", doc: doc, parse: func(o *Options, v string) error {
		if v != "true" && v != "false" {
			return fmt.Errorf("%s %s: want true or false", name, brief(v))
		}
		*field(o) = v == "true"
		return nil
	}, print: func(o *Options, word func(name, value string)) {
		if *field(o) {
			word(name, "true")
		}
	}}
}

func optionPath(v string) (string, error) {
	v = rooted(v)
	_, err := checkPath(v)
	return writable(v), err
}

// writable encodes what cannot stand in a tag or a route command: blanks, which
// the meta can hold, and quotes. As a path it stays the same.
func writable(path string) string {
	special := func(r rune) bool { return r == '"' || unicode.IsSpace(r) }
	if strings.IndexFunc(path, special) < 0 {
		return path
	}
	var b strings.Builder
	for _, r := range path {
		if special(r) {
			for _, c := range []byte(string(r)) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func parseProto(o *Options, v string) error {
	i := slices.Index(protoNames[:], v)
	if i < 0 {
		return fmt.Errorf("proto %s: want http, https, tcp, grpc or grpcs", brief(v))
	}
	o.Proto = Proto(i)
	return nil
}

func parseWeight(o *Options, v string) error {
	w, err := parseNumber(v)
	switch {
	case err != nil:
		return fmt.Errorf("weight %s is not a number", brief(v))
	case w == 0:
		w = 0 // also for -0
	case !(w >= minWeight && w <= maxWeight):
		return fmt.Errorf("weight %s: want 0, or a number from %g to %g", brief(v), minWeight, maxWeight)
	}
	o.Weight = w
	return nil
}

// parseNumber reads a number that may be out of range, but is one.
func parseNumber(v string) (float64, error) {
	n, err := strconv.ParseFloat(v, 64)
	switch {
	case errors.Is(err, strconv.ErrRange) && n == 0:
		return math.SmallestNonzeroFloat64, nil
	case errors.Is(err, strconv.ErrRange):
		return n, nil
	case err == nil && math.IsNaN(n):
		return 0, strconv.ErrSyntax
	}
	return n, err
}

func formatNumber(n float64) string { return strconv.FormatFloat(n, 'g', -1, 64) }

func parseInt(name, v string, low, high int, field *int) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		return fmt.Errorf("%s %s: want a whole number from %d to %d", name, brief(v), low, high)
	}
	*field = n
	return nil
}

var strategies = [...]string{P2C: "p2c", LeastConn: "least_conn", RoundRobinBalance: "round_robin", RandomBalance: "random"}

func parseStrategy(o *Options, v string) error {
	name := v
	switch v { // Fabio's words
	case "rr":
		name = "round_robin"
	case "rnd":
		name = "random"
	}
	i := slices.Index(strategies[:], name)
	if i < 0 {
		return fmt.Errorf("strategy %s: want p2c, least_conn, round_robin or random", brief(v))
	}
	o.Balance, o.HasBalance = Balance(i), true
	return nil
}

func parseTimeout(o *Options, v string) error {
	d, err := time.ParseDuration(v)
	if err != nil || d < time.Millisecond || d > maxTimeout {
		return fmt.Errorf("timeout %s: want a duration from 1ms to 24h, such as 500ms or 2s", brief(v))
	}
	o.Timeout = d
	return nil
}

var ratePeriods = map[string]float64{"s": 1, "m": 60, "h": 3600}

func parseRateLimit(o *Options, v string) error {
	rate, burst, hasBurst := strings.Cut(v, ",")
	count, unit, _ := strings.Cut(rate, "/")
	n, err := parseNumber(count)
	if seconds := ratePeriods[unit]; seconds > 0 && err == nil {
		n /= seconds
	} else {
		return fmt.Errorf("ratelimit %s: want a number of requests per s, m or h, such as 100/s, 600/m or 100/s,200", brief(v))
	}
	if !(n >= minRate && n <= maxRate) {
		return fmt.Errorf("ratelimit %s: want from %g to %g requests a second", brief(v), minRate, maxRate)
	}
	limit := RateLimit{PerSecond: n, Burst: usualBurst(n)}
	if hasBurst {
		if err := parseInt("ratelimit: burst", burst, 1, maxRate, &limit.Burst); err != nil {
			return err
		}
	}
	o.RateLimit = &limit
	return nil
}

// usualBurst is what a second brings.
func usualBurst(perSecond float64) int { return max(1, int(math.Ceil(perSecond))) }

// String returns the limit as it stands in a tag.
func (l *RateLimit) String() string {
	s := formatNumber(l.PerSecond) + "/s"
	for _, unit := range [...]string{"m", "h"} { // 2/m rather than 0.03333333333333333/s
		n := l.PerSecond * ratePeriods[unit]
		if text := formatNumber(n) + "/" + unit; len(text) < len(s) && n/ratePeriods[unit] == l.PerSecond {
			s = text
		}
	}
	if l.Burst != usualBurst(l.PerSecond) {
		s += "," + strconv.Itoa(l.Burst)
	}
	return s
}

// edit is the row of an option that edits headers. They are printed by the
// first row of their kind, since their order counts.
func edit(op HeaderOp, name, value, doc string) option {
	list, response := func(o *Options) *[]HeaderEdit { return &o.RequestHeaders }, strings.HasPrefix(name, "resp")
	if response {
		list = func(o *Options) *[]HeaderEdit { return &o.ResponseHeaders }
	}
	kind, _, _ := strings.Cut(name, ".")
	row := option{name: name, value: value, doc: doc, many: true, parse: func(o *Options, v string) error {
		e, err := parseHeaderEdit(op, v, response)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", name, err)
		case len(o.RequestHeaders)+len(o.ResponseHeaders) == maxHeaderEdits:
			return fmt.Errorf("%s: a rule edits at most %d headers", name, maxHeaderEdits)
		}
		*list(o) = append(*list(o), e)
		return nil
	}}
	if op == HeaderSet {
		row.print = func(o *Options, word func(name, value string)) {
			for _, e := range *list(o) {
				word(kind+"."+editNames[e.Op], e.String())
			}
		}
	}
	return row
}

var editNames = [...]string{HeaderSet: "set", HeaderAdd: "add", HeaderRemove: "remove"}

// String returns the edit as it stands in a tag, without its name.
func (e HeaderEdit) String() string {
	if e.Op == HeaderRemove {
		return e.Name
	}
	return e.Name + ":" + encodeValue(e.Value, "")
}

func parseHeaderEdit(op HeaderOp, v string, response bool) (HeaderEdit, error) {
	name, value, ok := strings.Cut(v, ":")
	switch {
	case !isToken(name):
		return HeaderEdit{}, fmt.Errorf("%s is not the name of a header", brief(name))
	case op == HeaderRemove && ok:
		return HeaderEdit{}, fmt.Errorf("%s: only a name is wanted here", brief(v))
	case op != HeaderRemove && !ok:
		return HeaderEdit{}, fmt.Errorf("%s has no value: write %s:value", brief(v), name)
	}
	e := HeaderEdit{Op: op, Name: textproto.CanonicalMIMEHeaderKey(name)}
	if err := editable(e.Name, response); err != nil {
		return e, err
	}
	value, err := decodeValue(value)
	e.Value = strings.Trim(value, " ")
	return e, err
}

// editable says why a header cannot be edited: it belongs to the connection, or
// what it says of the client must be true.
func editable(name string, response bool) error {
	switch name {
	case "Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return fmt.Errorf("header %s belongs to the connection and cannot be edited", name)
	case "Host":
		if !response {
			return errors.New("header Host is set by host=name")
		}
	case "Forwarded", "X-Real-Ip":
		if !response {
			return fmt.Errorf("header %s is what Serin says of the client and cannot be edited", name)
		}
	default:
		if !response && strings.HasPrefix(name, "X-Forwarded-") {
			return fmt.Errorf("header %s is what Serin says of the client and cannot be edited", name)
		}
	}
	return nil
}

// decodeValue undoes the percent-encoding of a value, which lets a tag say what
// it cannot hold, such as a blank.
func decodeValue(v string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(v); i++ {
		c := v[i]
		if c == '%' {
			if i+2 >= len(v) || !isHex(v[i+1]) || !isHex(v[i+2]) {
				return "", fmt.Errorf(`%s: "%%" must be followed by two hexadecimal digits; write %%25 for the character itself`, brief(v))
			}
			c = unhex(v[i+1])<<4 | unhex(v[i+2])
			i += 2
		}
		if c < ' ' || c == 0x7f {
			return "", fmt.Errorf("%s: a value has no control characters", brief(v))
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

// encodeValue is the inverse of decodeValue; it encodes the bytes of also too.
func encodeValue(v, also string) string {
	var b strings.Builder
	for i := range len(v) {
		if c := v[i]; c <= ' ' || c >= 0x7f || c == '%' || c == '"' || strings.IndexByte(also, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// isToken reports whether s can be the name of a header or method (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

// isName reports whether s can be the name of a service.
func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

// Bounds of the regular expressions of a tag, so that none takes long.
const (
	maxRegexp     = 256 // bytes
	maxRegexpCost = 512 // see RegexpCost
)

// RegexpCost estimates the size of the program that a regular expression is
// compiled to, in instructions and ranges.
func RegexpCost(re *syntax.Regexp) int {
	cost := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		cost += RegexpCost(sub)
	}
	if re.Op == syntax.OpRepeat {
		cost *= max(re.Min, re.Max, 1)
	}
	return cost
}

// maxRegexpWork bounds what one match of an expression may cost, in bytes of the
// text times RegexpCost: about a millisecond.
const maxRegexpWork = 64 << 10

// longestFor returns how many bytes a text may have to be matched with re.
func longestFor(re *regexp.Regexp) int {
	parsed, err := syntax.Parse(re.String(), syntax.Perl)
	if err != nil {
		return 0
	}
	return maxRegexpWork / RegexpCost(parsed)
}

// checkRegexp says why a regular expression cannot stand in a tag.
func checkRegexp(s string) error {
	if len(s) > maxRegexp {
		return fmt.Errorf("a regular expression of a tag has at most %d bytes, not %d", maxRegexp, len(s))
	}
	re, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		return fmt.Errorf("%s is not a regular expression: %s", brief(s), strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	if RegexpCost(re) > maxRegexpCost {
		return fmt.Errorf("the regular expression %s is too large: use fewer repetitions and classes", brief(s))
	}
	return nil
}

// brief quotes what somebody wrote, shortened.
func brief(s string) string {
	if len(s) > 64 {
		s = strings.ToValidUTF8(s[:61], "") + "…"
	}
	return strconv.Quote(s)
}

// didYouMean returns a hint when name is close to a known option.
func didYouMean(name string) string {
	if near := spelling.Nearest(name, optionNames); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return ""
}

// optionNames are those of tagOptions.
var optionNames = func() []string {
	names := make([]string, len(tagOptions))
	for i, row := range tagOptions {
		names[i] = row.name
	}
	return names
}()
