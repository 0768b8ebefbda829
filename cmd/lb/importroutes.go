package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"serin/canary"
	"serin/route"
)

// document is a canary document that route commands became.
type document struct {
	service, text, why string
}

// weighed is a route weight that a canary document can say: for one service and
// one tag, a share of at most all.
type weighed struct {
	file, line int // of the command
	command    route.Command
}

// convertCommands divides texts of route commands into canary documents and what
// stays a text. A document is for a whole service: the commands of one service
// become it only where they all say the same.
func convertCommands(files []commandFile) (text string, documents []document) {
	byService := map[string][]weighed{}
	var services []string
	commands, problems := make([]map[int]route.Command, len(files)), make([]map[int]route.Problem, len(files))
	for i, f := range files {
		commands[i], problems[i] = map[int]route.Command{}, map[int]route.Problem{}
		parsed, refused := route.ParseCommands(f.name, f.text)
		for _, c := range parsed {
			commands[i][c.Line] = c
			if c.Op == route.RouteWeight && c.Service != "" && len(c.Tags) == 1 && c.Weight <= 1 {
				if byService[c.Service] == nil {
					services = append(services, c.Service)
				}
				byService[c.Service] = append(byService[c.Service], weighed{i, c.Line, c})
			}
		}
		for _, p := range refused {
			problems[i][lineOf(p.Where)] = p
		}
	}

	moved := map[weighedAt]string{} // to this key
	stays := map[weighedAt]string{} // and why
	for _, service := range services {
		list := byService[service]
		first := list[0].command
		if i := slices.IndexFunc(list, func(w weighed) bool {
			return w.command.Weight != first.Weight || w.command.Tags[0] != first.Tags[0]
		}); i >= 0 {
			for _, w := range list {
				stays[weighedAt{w.file, w.line}] = "no canary document: a document is for a whole service, and there are several shares or tags for " + service
			}
			continue
		}
		d, err := canaryDocument(service, first)
		if err != nil {
			for _, w := range list {
				stays[weighedAt{w.file, w.line}] = "no canary document: " + err.Error()
			}
			continue
		}
		for _, w := range list {
			moved[weighedAt{w.file, w.line}] = "lb/canary/" + service
		}
		documents = append(documents, d)
	}

	var out strings.Builder
	for i, f := range files {
		if len(files) > 1 {
			fmt.Fprintf(&out, "# --- %s\n", f.name)
		}
		n := 0
		for line := range strings.SplitSeq(strings.TrimSuffix(f.text, "\n"), "\n") {
			n++
			line = strings.TrimRight(line, "\r")
			at := weighedAt{i, n}
			c, is := commands[i][n]
			p, bad := problems[i][n]
			switch {
			case bad:
				fmt.Fprintf(&out, "# refused: %s: %s\n# %s\n", p.Where, p.Error, line)
				continue
			case moved[at] != "":
				fmt.Fprintf(&out, "# now %s: %s\n", moved[at], strings.TrimSpace(line))
				continue
			case stays[at] != "":
				fmt.Fprintf(&out, "# %s\n", stays[at])
			case is && c.Op == route.RouteWeight:
				fmt.Fprintf(&out, "# no canary document: that needs a service, one tag and a weight of at most 1\n")
			}
			if is && c.Weight == 0 {
				out.WriteString("# weight 0 gives nothing here; Fabio up to 1.7 took it for none\n")
			}
			out.WriteString(line + "\n")
		}
	}
	if strings.Trim(out.String(), " \t\n") == "" || !remains(commands, moved) && len(problemsIn(problems)) == 0 {
		return "", documents
	}
	return out.String(), documents
}

// weighedAt is the place of a command.
type weighedAt struct{ file, line int }

// remains reports whether a command is left that did not move.
func remains(commands []map[int]route.Command, moved map[weighedAt]string) bool {
	for i, byLine := range commands {
		for line := range byLine {
			if moved[weighedAt{i, line}] == "" {
				return true
			}
		}
	}
	return false
}

func problemsIn(files []map[int]route.Problem) (out []route.Problem) {
	for _, f := range files {
		for _, p := range f {
			out = append(out, p)
		}
	}
	return out
}

// lineOf is the line in source:line:column.
func lineOf(where string) int {
	fields := strings.Split(where, ":")
	if len(fields) < 3 {
		return 0
	}
	n, _ := strconv.Atoi(fields[len(fields)-2])
	return n
}

// canaryDocument is a route weight as a document, checked as a balancer would.
func canaryDocument(service string, c route.Command) (document, error) {
	key := "lb/canary/" + service
	if strings.Contains(service, "/") {
		return document{}, fmt.Errorf("%q is no name of a service", service)
	}
	changes := []canary.Change{{Field: "ratio", Value: c.Weight}, {Field: "canary.tag", Value: c.Tags[0]}}
	text, err := canary.Set(key, nil, changes...)
	if err != nil {
		return document{}, err
	}
	why := fmt.Sprintf("%s of all requests to %s go to its instances with the tag %s (%s:%d)", percent(c.Weight), service, c.Tags[0], c.Source, c.Line)
	if c.Weight == 0 {
		why += "; Fabio up to 1.7 took 0 for no weight"
	}
	return document{service, string(text), why}, nil
}
