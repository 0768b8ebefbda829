package route

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of the texts that route commands come in. A line is much longer than
// any tag, a text longer than Consul lets a key be.
const (
	maxLine     = 8 << 10 // bytes in a line
	maxText     = 1 << 20 // bytes in all texts together
	maxCommands = 10_000  // in all texts together
	maxRefused  = 100     // lines of a text that are refused each with its own Problem
)

// CommandText is a text of route commands and the name of what holds it.
type CommandText struct {
	Source string // such as a KV key
	Text   string
}

// ParseOverrides parses texts in the order in which they apply. What is refused
// in one changes nothing in the others, but for the limits that all share: 1 MiB
// and 10,000 commands.
func ParseOverrides(texts ...CommandText) *Overrides {
	out := new(Overrides)
	bytes := 0
	for _, t := range texts {
		commands, problems := parseCommands(t, maxText-bytes, maxCommands-len(out.Commands))
		out.Commands = append(out.Commands, commands...)
		out.Problems = append(out.Problems, problems...)
		if len(t.Text) <= maxText-bytes {
			bytes += len(t.Text)
		}
	}
	return out
}

// ParseCommands parses one text in the route command language:
//
//	route add <svc> <src> <dst>[ weight <w>][ tags "t1,t2"][ opts "k=v k2=v2"]
//	route del <svc>[ <src>[ <dst>]]
//	route del <svc> tags "t1,t2"
//	route del tags "t1,t2"
//	route weight <svc> <src> weight <w>[ tags "t1,t2"]
//	route weight <src> weight <w> tags "t1,t2"
//
// A line holds one command, a comment (# or //, also behind a command) or
// nothing; blanks and tabs separate words. src is [host]/path, a host alone, or
// :port; dst is http, https, tcp, grpc or grpcs://host:port, where http and https
// have their usual port; opts are the options of a tag (see [ParseTag]). A
// redirect is opts "redirect=code,url", or as Fabio prints it "redirect=code" with
// the URL as dst, which then is Command.Dst without an Addr.
//
// A line that cannot be read is a Problem of that line alone (and a command all
// the same where it is about protection: it then lets nobody in, as a tag does), whose Where is
// source:line:column, all from 1, the column in characters. Lines of more than
// 8 KiB and what is above 10,000 commands are refused so too, and a text of more
// than 1 MiB as a whole.
func ParseCommands(source, text string) ([]Command, []Problem) {
	return parseCommands(CommandText{source, text}, maxText, maxCommands)
}

func parseCommands(t CommandText, bytes, commands int) (out []Command, problems []Problem) {
	refuse := func(line, column int, service string, err error) {
		problems = append(problems, Problem{
			Where: fmt.Sprintf("%s:%d:%d", t.Source, line, column), Service: service, Err: err, Error: err.Error(),
		})
	}
	if len(t.Text) > bytes {
		refuse(1, 1, "", fmt.Errorf("the text is %d bytes long and at most %d bytes of route commands are read, so none of it counts: remove what is not needed", len(t.Text), maxText))
		return nil, problems
	}
	more, n := 0, 0
	for line := range strings.SplitSeq(strings.TrimPrefix(t.Text, "\uFEFF"), "\n") {
		n++
		c, ok, err := parseLine(strings.TrimSuffix(line, "\r"))
		if err == nil && !ok {
			continue
		}
		if err == nil && len(out) == commands {
			refuse(n, 1, "", fmt.Errorf("at most %d route commands are read: this line and those after it do not count", maxCommands))
			break
		}
		wrong := []error{err}
		if err == nil {
			wrong, c.Rule.Refused = c.Rule.Refused, nil
			c.Source, c.Line = t.Source, n
			out = append(out, c)
		}
		for _, err := range wrong {
			if len(problems) == maxRefused {
				more++
				continue
			}
			column := 1
			if e, ok := errors.AsType[*offsetError](err); ok {
				column += utf8.RuneCountInString(line[:min(e.offset, len(line))])
				err = e.err
			}
			refuse(n, column, c.Service, err)
		}
	}
	if more > 0 {
		refuse(n, 1, "", fmt.Errorf("%d more lines are refused: mend the %d above first", more, maxRefused))
	}
	return out, problems
}

// parseLine parses one line; ok is false when it holds no command. Its errors
// are offsetErrors, with what is known of the command.
func parseLine(line string) (c Command, ok bool, err error) {
	if len(line) > maxLine {
		return c, false, at(maxLine, "the line is %d bytes long: at most %d are read", len(line), maxLine)
	}
	words, err := splitLine(line)
	if err != nil || len(words) == 0 {
		return c, false, err
	}
	p := &lineParser{words: words, end: len(line)}
	c = Command{Rule: Rule{Options: Options{Weight: -1, Retries: -1}}, Weight: -1}
	err = p.command(&c)
	return c, err == nil, err
}

// lineWord is one word of a line, or what stands between quotes.
type lineWord struct {
	text   string
	at     int // offset of text in the line
	quoted bool
}

func splitLine(line string) (words []lineWord, err error) {
	for i, r := range line {
		if r == utf8.RuneError && !strings.HasPrefix(line[i:], "\uFFFD") {
			return nil, at(i, "the line is not valid UTF-8")
		}
		if r != '\t' && unicode.IsControl(r) {
			return nil, at(i, "control character %q in a line", r)
		}
	}
	for i := 0; i < len(line); {
		rest := line[i:]
		switch {
		case rest[0] == ' ' || rest[0] == '\t':
			i++
		case rest[0] == '#', strings.HasPrefix(rest, "//"):
			return words, nil
		case rest[0] == '"':
			text, after, closed := strings.Cut(rest[1:], `"`)
			if !closed {
				return nil, at(i, "the quote is not closed")
			}
			words = append(words, lineWord{text, i + 1, true})
			i += len(text) + 2
			if after != "" && after[0] != ' ' && after[0] != '\t' {
				return nil, at(i, "want a blank after the closing quote; a value cannot hold a quote")
			}
		default:
			end := strings.IndexAny(rest, " \t")
			if end < 0 {
				end = len(rest)
			}
			word := rest[:end]
			if q := strings.IndexByte(word, '"'); q >= 0 {
				return nil, at(i+q, "a quote inside a word: want a blank before it")
			}
			if s := strings.IndexFunc(word, unicode.IsSpace); s >= 0 {
				r, _ := utf8.DecodeRuneInString(word[s:])
				return nil, at(i+s, "%U does not separate words: write a plain blank", r)
			}
			words = append(words, lineWord{word, i, false})
			i += end
		}
	}
	return words, nil
}

// lineParser reads the words of one line from left to right.
type lineParser struct {
	words []lineWord
	end   int // offset behind the line
}

func (p *lineParser) peek(text string) bool {
	return len(p.words) > 0 && !p.words[0].quoted && p.words[0].text == text
}

// next takes the next word, which is what and stands without quotes.
func (p *lineParser) next(what string) (lineWord, error) {
	if len(p.words) == 0 {
		return lineWord{}, at(p.end, "the line ends where %s is wanted", what)
	}
	w := p.words[0]
	if w.quoted {
		return w, at(w.at-1, "%s is wanted here, without quotes", what)
	}
	p.words = p.words[1:]
	return w, nil
}

func (p *lineParser) command(c *Command) error {
	w, err := p.next("route")
	if err != nil {
		return err
	}
	if w.text != "route" {
		return at(w.at, "a command begins with route, not with %q: write route add, route del or route weight", w.text)
	}
	if w, err = p.next("add, del or weight"); err != nil {
		return err
	}
	switch w.text {
	case "add":
		c.Op = RouteAdd
		return p.add(c)
	case "del":
		c.Op = RouteDel
		return p.del(c)
	case "weight":
		c.Op = RouteWeight
		return p.weight(c)
	}
	return at(w.at, "unknown command %q: want add, del or weight", w.text)
}

func (p *lineParser) add(c *Command) error {
	svc, err := p.next("the name of a service")
	if err != nil {
		return err
	}
	c.Service = svc.text
	src, err := p.next("a route, as [host]/path,")
	if err != nil {
		return err
	}
	dst, err := p.next("a destination, as http://host:port,")
	if err != nil {
		return err
	}
	cl, err := p.clauses("weight", "tags", "opts")
	if err != nil {
		return err
	}
	c.Tags = cl.tags()
	return c.rule(src, dst, cl)
}

func (p *lineParser) del(c *Command) error {
	if p.peek("tags") && len(p.words) > 1 && p.words[1].quoted {
		return p.delTags(c)
	}
	svc, err := p.next(`the name of a service, or tags "…",`)
	if err != nil {
		return err
	}
	c.Service = svc.text
	if p.peek("tags") {
		return p.delTags(c)
	}
	if len(p.words) == 0 {
		return nil
	}
	src, err := p.next("a route, as [host]/path,")
	if err != nil {
		return err
	}
	if c.Rule, err = parseSource(src); err != nil {
		return err
	}
	if len(p.words) > 0 {
		dst, err := p.next("a destination, as http://host:port,")
		if err != nil {
			return err
		}
		if c.Addr, c.Rule.Options.Proto, err = parseDestination(dst); err != nil {
			if parseRedirect(new(Options), "301,"+dst.text) != nil {
				return err
			}
			c.Rule.Options.Proto = HTTP
		}
		c.Dst = dst.text
	}
	_, err = p.clauses()
	return err
}

func (p *lineParser) delTags(c *Command) error {
	cl, err := p.clauses("tags")
	if err != nil {
		return err
	}
	if c.Tags = cl.tags(); c.Tags == nil {
		return at(cl["tags"].at, "no tag between the quotes: the line would remove every target")
	}
	return nil
}

func (p *lineParser) weight(c *Command) error {
	src, err := p.next("the name of a service, or a route,")
	if err != nil {
		return err
	}
	if !p.peek("weight") {
		c.Service = src.text
		if src, err = p.next("a route, as [host]/path,"); err != nil {
			return err
		}
	}
	if c.Rule, err = parseSource(src); err != nil {
		return err
	}
	cl, err := p.clauses("weight", "tags")
	if err != nil {
		return err
	}
	w, ok := cl["weight"]
	if !ok {
		return at(p.end, "the line ends where weight and a number are wanted")
	}
	if c.Weight, err = w.number(); err != nil {
		return err
	}
	c.Tags = cl.tags()
	if _, named := cl["tags"]; c.Tags == nil && (named || c.Service == "") {
		return at(p.end, `the line must name a service or tags: route weight <src> weight <w> tags "t1,t2"`)
	}
	return nil
}

// clauses are the values of the words weight, tags and opts.
type clauses map[string]lineWord

// clauses reads all that is left of the line: the named clauses, each at most
// once, in any order.
func (p *lineParser) clauses(names ...string) (clauses, error) {
	cl := clauses{}
	for len(p.words) > 0 {
		w := p.words[0]
		known := false
		for _, name := range names {
			known = known || !w.quoted && w.text == name
		}
		_, twice := cl[w.text]
		if w.quoted {
			w.at--
		}
		switch {
		case !known && len(names) == 0:
			return nil, at(w.at, "%q is too much: the command ends before it", w.text)
		case !known:
			return nil, at(w.at, "%q is too much: only %s may follow", w.text, strings.Join(names, ", "))
		case twice:
			return nil, at(w.at, "%s is given twice", w.text)
		case len(p.words) == 1:
			return nil, at(p.end, "the line ends where the value of %s is wanted", w.text)
		}
		cl[w.text] = p.words[1]
		p.words = p.words[2:]
	}
	return cl, nil
}

// tags returns the tags clause as a list; nil when it names none.
func (cl clauses) tags() (tags []string) {
	for tag := range strings.SplitSeq(cl["tags"].text, ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			tags = append(tags, tag)
		}
	}
	return tags
}

func (w lineWord) number() (float64, error) {
	var o Options
	if err := parseWeight(&o, w.text); err != nil {
		return -1, at(w.at, "%w", err)
	}
	return o.Weight, nil
}

// rule reads what route add says beyond service and tags. It is the tag that
// an instance at dst would have for the same route.
func (c *Command) rule(src, dst lineWord, cl clauses) (err error) {
	if w, ok := cl["weight"]; ok {
		if c.Weight, err = w.number(); err != nil {
			return err
		}
	}
	opts := cl["opts"]
	proto, redirect := false, false // opts say proto=; dst is the URL of a redirect
	for word := range strings.FieldsSeq(opts.text) {
		code, is := strings.CutPrefix(word, "redirect=")
		proto = proto || strings.HasPrefix(word, "proto=")
		redirect = redirect || is && urlIsElsewhere(code)
	}
	tag := &tagText{}
	tag.copy(src.text, src.at)
	var scheme Proto
	if !redirect {
		if c.Addr, scheme, err = parseDestination(dst); err != nil {
			return err
		}
		if scheme != HTTP && !proto {
			tag.add(" proto=" + schemes[scheme])
		}
	}
	for i := 0; i < len(opts.text); {
		word, _, _ := strings.Cut(opts.text[i:], " ")
		word, _, _ = strings.Cut(word, "\t")
		if word == "" {
			i++
			continue
		}
		if strings.HasPrefix(word, "weight=") && c.Weight >= 0 {
			return at(opts.at+i, "the weight is given twice: before opts, and in them")
		}
		tag.add(" ")
		tag.copy(word, opts.at+i)
		if code, is := strings.CutPrefix(word, "redirect="); is && urlIsElsewhere(code) {
			tag.add(",")
			tag.copy(dst.text, dst.at)
		}
		i += len(word)
	}
	c.Dst = dst.text
	if c.Rule, err = tag.parse(); err != nil {
		return err
	}
	if c.Rule.Refused != nil {
		// Nobody is let in, and nothing of opts counts: the destination does.
		if c.Addr, c.Rule.Options.Proto, err = parseDestination(dst); err != nil {
			return c.Rule.Refused[0]
		}
	} else if proto && !redirect && c.Rule.Options.Proto != scheme {
		return at(dst.at, "the destination is %s:// and opts say proto=%s: let both say the same", schemes[scheme], schemes[c.Rule.Options.Proto])
	}
	if c.Weight < 0 {
		c.Weight = c.Rule.Options.Weight
	}
	c.Rule.Options.Weight = c.Weight
	return nil
}

// urlIsElsewhere reports whether the value of redirect= is a code alone.
func urlIsElsewhere(value string) bool { return value != "" && !strings.Contains(value, ",") }

// tagText is a tag made of pieces of a line, which remembers where each of its
// bytes comes from.
type tagText struct {
	text string
	from []int // offset in the line, by offset in text
}

// copy appends what stands at an offset of the line.
func (t *tagText) copy(s string, from int) {
	for i := range len(s) {
		t.from = append(t.from, from+i)
	}
	t.text += s
}

// add appends what does not stand in the line, on behalf of what is behind the
// last byte that was copied.
func (t *tagText) add(s string) {
	behind := t.from[len(t.from)-1] + 1
	for range len(s) {
		t.from = append(t.from, behind)
	}
	t.text += s
}

// parse is parseTag with offsets in the line.
func (t *tagText) parse() (Rule, error) {
	if len(t.text) > maxTag {
		return Rule{}, at(t.from[maxTag], "the route and its options are %d bytes long: at most %d are read", len(t.text), maxTag)
	}
	r, err := parseTag("", "", t.text)
	for i, err := range r.Refused {
		r.Refused[i] = t.inLine(err)
	}
	return r, t.inLine(err)
}

// inLine gives a mistake in the tag its place in the line.
func (t *tagText) inLine(err error) error {
	e, ok := errors.AsType[*offsetError](err)
	if !ok {
		return err
	}
	last := len(t.from) - 1
	if e.offset > last {
		return at(t.from[last]+1, "%w", e.err)
	}
	return at(t.from[e.offset], "%w", e.err)
}

// parseSource reads src alone.
func parseSource(w lineWord) (Rule, error) {
	tag := &tagText{}
	tag.copy(w.text, w.at)
	if strings.HasPrefix(w.text, ":") {
		tag.add(" proto=tcp")
	}
	r, err := tag.parse()
	r.Options.Proto = HTTP
	return r, err
}

// schemes are those of destinations, by Proto.
var schemes = [...]string{HTTP: "http", HTTPS: "https", TCP: "tcp", GRPC: "grpc", GRPCS: "grpcs"}

// parseDestination reads scheme://host:port[/].
func parseDestination(w lineWord) (addr string, proto Proto, err error) {
	scheme, rest, ok := strings.Cut(w.text, "://")
	found := false
	for i, s := range schemes {
		if strings.EqualFold(scheme, s) {
			proto, found = Proto(i), true
		}
	}
	if !ok || !found {
		return "", 0, at(w.at, "destination %q: want http://host:port, or https, tcp, grpc or grpcs in place of http", w.text)
	}
	start := w.at + len(scheme) + len("://")
	authority, path, slash := strings.Cut(rest, "/")
	if slash && path != "" {
		return "", 0, at(start+len(authority)+1, "destination %q: a destination has no path; add one to what is forwarded with opts \"prepend=/%s\"", w.text, path)
	}
	host, off, err := parseHost(authority, false)
	if err != nil {
		return "", 0, at(start+min(off, len(authority)), "destination %q: %w", w.text, err)
	}
	if _, port := splitPort(host); port == "" {
		switch proto {
		case HTTP:
			host += ":80"
		case HTTPS:
			host += ":443"
		default:
			return "", 0, at(start+len(authority), "destination %q has no port: write %s://%s:port", w.text, schemes[proto], authority)
		}
	}
	return host, proto, nil
}
