package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"serin/internal/shell"
)

func (a *app) importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "import COMMAND",
		GroupID: "tools",
		Short:   "Turn the configuration of another load balancer into ours",
		Args:    a.noCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.importFabioCommand())
	return cmd
}

func (a *app) importFabioCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fabio [FILE | -]...",
		Short: "Turn Fabio's properties and route commands into YAML, canary documents and KV",
		Long: "Read fabio.properties, files of FABIO_ variables, and texts of route commands (files,\nor - for standard input). Properties become our configuration; those that are not\n" +
			"there or mean something else are comments that say why; secrets are not copied.\nA route weight that is for one tag becomes a canary document, other commands stay\nas they are. Nothing is written to Consul: that is what the printed commands are for.",
		Example: "  lb import fabio fabio.properties > lb.yaml\n  consul kv get fabio/config | lb import fabio --out new fabio.properties -",
		Args:    usage(cobra.MinimumNArgs(1)),
	}
	dir := cmd.Flags().String("out", "", "`directory` for lb.yaml, routes.txt and kv.sh, in place of standard output")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		var in imported
		for _, arg := range args {
			name, text, err := a.readArg(arg)
			if err != nil {
				return err
			}
			in.read(name, string(text))
		}
		out := in.convert()
		if *dir == "" {
			if _, err := fmt.Fprint(a.out, out.together()); err != nil {
				return err
			}
		} else if err := out.write(*dir, a.out); err != nil {
			return err
		}
		for _, note := range out.notes {
			fmt.Fprintln(a.err, "note:", note)
		}
		return fail(exitUsage, together(in.errs), "the rest is converted; mend these lines and start again")
	}
	return cmd
}

// imported is what was read of Fabio's.
type imported struct {
	properties []property
	files      []string // that properties were read from
	commands   []commandFile
	errs       []error
}

// commandFile is a text of route commands.
type commandFile struct{ name, text string }

// commandLine matches a line of route commands.
var commandLine = regexp.MustCompile(`(?m)^[ \t]*route[ \t]+(add|del|weight)[ \t]`)

// read takes in one file, whichever it is.
func (in *imported) read(name, text string) {
	if commandLine.MatchString(text) && filepath.Ext(name) != ".properties" {
		in.commands = append(in.commands, commandFile{name, text})
		return
	}
	in.files = append(in.files, name)
	properties, errs := parseProperties(name, text)
	in.errs = append(in.errs, errs...)
	for _, p := range properties {
		row, wrong := fabioKey(p.key)
		if row != nil {
			p.key = row.key
		}
		if wrong != "" {
			in.errs = append(in.errs, fmt.Errorf("%s:%d: %s", name, p.line, wrong))
		}
		if p.key == "registry.static.routes" && p.value != "" {
			in.commands = append(in.commands, commandFile{fmt.Sprintf("%s:%d", name, p.line), p.value})
		}
		// As in Fabio the last line holds.
		in.properties = append(slices.DeleteFunc(in.properties, func(old property) bool { return old.key == p.key }), p)
	}
}

// converted is what becomes of it; "" is nothing.
type converted struct {
	yaml   string
	routes string // route commands that stay, for the key lb/routes/fabio
	kv     string // commands of a shell that write to Consul
	notes  []string
}

func (in *imported) convert() (out converted) {
	var extra []string
	if in.files != nil {
		out.yaml, extra, out.notes = convertProperties(in.properties, in.files)
	}
	if in.commands != nil {
		var documents []document
		out.routes, documents = convertCommands(in.commands)
		for _, d := range documents {
			extra = append(extra, fmt.Sprintf("# %s\nconsul kv put %s %s\n", d.why, shell.Quote("lb/canary/"+d.service), shell.Quote(d.text)))
		}
	}
	if out.routes != "" {
		extra = append(extra, "# the route commands that stay as they are\nconsul kv put lb/routes/fabio "+shell.Quote(strings.TrimSuffix(out.routes, "\n"))+"\n")
	}
	out.kv = strings.Join(extra, "\n")
	return out
}

// together is all in one text: YAML where there are properties, with the rest in
// comments; a shell's commands otherwise.
func (c converted) together() string {
	switch {
	case c.yaml == "":
		return c.kv
	case c.kv == "":
		return c.yaml
	}
	text := c.yaml + "\n# What belongs into Consul's KV; --out DIR writes it to a file of its own.\n"
	for line := range strings.SplitSeq(strings.TrimSuffix(c.kv, "\n"), "\n") {
		text += strings.TrimRight("#   "+line, " ") + "\n"
	}
	return text
}

// write makes the files in dir, and none in place of another.
func (c converted) write(dir string, out interface{ Write([]byte) (int, error) }) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fail(exitFailed, err, "")
	}
	if c.kv != "" {
		c.kv = "#!/bin/sh\nset -e\n\n" + c.kv
	}
	for _, f := range []struct{ name, text string }{{"lb.yaml", c.yaml}, {"routes.txt", c.routes}, {"kv.sh", c.kv}} {
		if f.text == "" {
			continue
		}
		path := filepath.Join(dir, f.name)
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return fail(exitFailed, err, "name another directory, or remove what was made before")
		}
		_, err = file.WriteString(f.text)
		if err = errors.Join(err, file.Close()); err != nil {
			return fail(exitFailed, err, "")
		}
		fmt.Fprintf(out, "%s\n", path)
	}
	return nil
}

// yamlWord matches what YAML reads as a text, or as the number or bool that an
// option takes, without quotes.
var yamlWord = regexp.MustCompile(`^[A-Za-z0-9/][A-Za-z0-9._/-]*$`)

func yamlText(s string) string {
	if yamlWord.MatchString(s) {
		return s
	}
	quoted, _ := json.Marshal(s) // a JSON string is a YAML one
	return string(quoted)
}
