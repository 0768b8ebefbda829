package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// help prints what cmd is for, examples first, then its commands and flags.
func help(cmd *cobra.Command, _ []string) {
	w := cmd.OutOrStdout()
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	fmt.Fprintln(w, text)
	if cmd.Example != "" {
		fmt.Fprintf(w, "\nExamples:\n%s\n", cmd.Example)
	}
	if cmd.Runnable() {
		fmt.Fprintf(w, "\nUsage: %s\n", cmd.UseLine())
	}
	for _, g := range cmd.Groups() {
		fmt.Fprintf(w, "\n%s\n", g.Title)
		commands(w, cmd, g.ID)
	}
	if len(cmd.Groups()) == 0 && cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\nCommands:\n")
		commands(w, cmd, "")
	}
	if !cmd.HasParent() { // its flags are those of lb run
		fmt.Fprintf(w, "\nFlags may have one dash or two. lb COMMAND --help tells more, lb run --help all options,\nlb help exit-codes what the exit codes mean.\n")
		return
	}
	own, shown := "Flags:", false
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if row(f.Name) != nil || f.Hidden || f.Name == "help" {
			return
		}
		if !shown {
			fmt.Fprintf(w, "\n%s\n", own)
			shown = true
		}
		kind, doc := pflag.UnquoteUsage(f)
		def := f.DefValue
		if def == "false" || def == "0s" || def == "[]" {
			def = ""
		}
		flagHelp(w, f.Name, kind, doc, def, "")
	})
	for _, g := range groups {
		shown := false
		for _, o := range options {
			if f := cmd.LocalFlags().Lookup(o.key); o.group != g || f == nil || f.Hidden {
				continue
			}
			if !shown {
				fmt.Fprintf(w, "\n%s:\n", g)
				shown = true
			}
			def := Default()
			if cmd.Name() == "daemon" {
				def = DefaultDaemon()
			}
			flagHelp(w, o.key, o.kind(), o.about(), o.text(&def), o.variables())
		}
	}
}

func commands(w io.Writer, cmd *cobra.Command, group string) {
	for _, c := range cmd.Commands() {
		if c.GroupID == group && (c.IsAvailableCommand() || c.Name() == "help") {
			fmt.Fprintf(w, "  %-12s %s\n", c.Name(), c.Short)
		}
	}
}

func flagHelp(w io.Writer, name, kind, doc, def, env string) {
	if kind != "" {
		kind = " " + kind
	}
	fmt.Fprintf(w, "  --%s%s\n      %s\n", name, kind, doc)
	var more []string
	if def != "" {
		more = append(more, "default "+def)
	}
	if env != "" {
		more = append(more, env)
	}
	if more != nil {
		fmt.Fprintf(w, "      [%s]\n", strings.Join(more, "; "))
	}
}

// row returns the option of that key, or nil.
func row(key string) *option {
	if i := slices.IndexFunc(options, func(o *option) bool { return o.key == key }); i >= 0 {
		return options[i]
	}
	return nil
}

// variables names the variables that set o.
func (o *option) variables() string {
	if o.fallback != "" {
		return o.env() + ", else " + o.fallback
	}
	return o.env()
}

// reference writes the option table as Markdown.
func reference(w io.Writer) {
	fmt.Fprint(w, "# Options\n\nEach option is a flag (`--key`, or `-key`), a variable, and a key of the YAML file that\n"+
		"`--config` or `LB_CONFIG` names (nested or dotted). A flag counts before a variable, a\n"+
		"variable before the file, the file before the default. An empty variable is none. Unknown\n"+
		"names are refused, but not the variables that Kubernetes sets for services (LB_UI_PORT\n"+
		"for one called lb-ui).\n"+
		"Written by `lb config reference`.\n")
	def := Default()
	for _, g := range groups {
		fmt.Fprintf(w, "\n## %s\n\n| option | default | meaning |\n|---|---|---|\n", g)
		for _, o := range options {
			if o.group != g {
				continue
			}
			value := o.text(&def)
			if value != "" {
				value = "`" + value + "`"
			}
			form := ""
			if k := o.kind(); k != "" {
				form = "<br>" + strings.ReplaceAll(k, "|", ", ")
			}
			fmt.Fprintf(w, "| `%s`<br>`%s`%s | %s | %s |\n", o.key, strings.ReplaceAll(o.variables(), ", else ", "`, else `"), form, value, o.about())
		}
	}
}
