// Command lb is Serin: a load balancer that follows Consul and steers canaries
// from its KV store. `lb help` lists what it can do.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func main() {
	a := &app{environ: os.Environ(), in: os.Stdin, out: os.Stdout, err: os.Stderr, asks: terminal(os.Stdin)}
	os.Exit(a.main(context.Background(), os.Args[1:]))
}

// app is one invocation of the command: all it gets from outside.
type app struct {
	environ []string
	in      io.Reader
	out     io.Writer // data
	err     io.Writer // talk
	asks    bool      // in is a person at a terminal
}

// main runs the command line and returns the exit code.
func (a *app) main(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(twoDashes(args))
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	return report(a.err, root.ExecuteContext(ctx))
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "lb [COMMAND]",
		Short:         "Serin, a load balancer that follows Consul",
		Long:          "Serin is a load balancer that follows Consul: services say in their tags where\ntraffic goes, and a JSON document in Consul's KV store steers canaries.\n\nlb alone is lb run with the defaults.",
		Example:       "  lb dev                          everything in one process, to try it\n  lb                              follow the Consul agent on this machine\n  lb run --config lb.yaml         with a configuration file\n  lb canary set web 10%           send a tenth of web's traffic to its canaries\n  lb routes                       what the running balancer knows\n  lb explain shop.test/cart       why a request goes where it goes\n  lb import fabio fabio.properties > lb.yaml",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          a.noCommand,
	}
	root.Version = buildVersion().String()
	root.SetVersionTemplate("{{.Version}}\n")
	root.AddGroup(&cobra.Group{ID: "run", Title: "Run:"}, &cobra.Group{ID: "look", Title: "Look:"},
		&cobra.Group{ID: "canary", Title: "Canary:"}, &cobra.Group{ID: "operate", Title: "Operate:"}, &cobra.Group{ID: "tools", Title: "Tools:"})
	run := a.runCommand("run")
	root.RunE = a.runner(root)
	root.AddCommand(run, a.devCommand(), a.daemonCommand(), a.routesCommand(), a.explainCommand(), a.healthCommand(), a.canaryCommand(), a.instancesCommand(), a.drainCommand(), a.restoreCommand(),
		a.overridesCommand(), a.importCommand(), a.validateCommand(), a.configCommand(), a.versionCommand(), exitCodesTopic())
	root.SetHelpCommandGroupID("tools")
	root.SetCompletionCommandGroupID("tools")
	root.SetHelpFunc(help)
	root.SetFlagErrorFunc(flagError)
	return root
}

// noCommand refuses arguments of lb itself: they are misspelt commands.
func (a *app) noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	hint := "lb help lists the commands"
	if c, _, err := cmd.Root().Find([]string{"canary", args[0]}); err == nil && c.Name() == args[0] && args[0] != "canary" {
		hint = c.CommandPath() + " is one"
	} else if cmd.Name() == "canary" {
		hint = "lb canary --help lists the commands"
	}
	return fail(exitUsage, errors.New("unknown command "+strconv.Quote(args[0])+didYouMean(args[0], names)), hint)
}

// noArgs refuses arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fail(exitUsage, errors.New("unexpected argument "+strconv.Quote(args[0])), "usage: "+cmd.UseLine()+"; the value of a flag that is true or false follows a =")
}

// usage makes an error of cobra's about arguments one of ours.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		problem := "an argument is missing"
		for i := range args { // the first that is one too many
			if check(cmd, args[:i]) == nil && check(cmd, args[:i+1]) != nil {
				problem = "unexpected argument " + strconv.Quote(args[i])
				break
			}
		}
		return fail(exitUsage, errors.New(problem), "usage: "+cmd.UseLine())
	}
}

func flagError(cmd *cobra.Command, err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	msg := err.Error()
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		msg = "unknown flag --" + e.GetSpecifiedName() + didYouMean(e.GetSpecifiedName(), names)
		if e.GetSpecifiedShortnames() != "" {
			msg = "unknown flag -" + e.GetSpecifiedName()
		}
	}
	return fail(exitUsage, errors.New(msg), cmd.CommandPath()+" --help lists the flags")
}

// oneDash matches a flag in the style of Consul and Fabio.
var oneDash = regexp.MustCompile(`^-[a-z][A-Za-z0-9.-]+(=|$)`)

// twoDashes lets flags be written with one dash.
func twoDashes(args []string) []string {
	out := slices.Clone(args)
	for i, arg := range out {
		if arg == "--" {
			break
		}
		if oneDash.MatchString(arg) {
			out[i] = "-" + arg
		}
	}
	return out
}

// text is a flag that keeps what it was given; whether it is right is found out
// with everything else.
type text struct {
	given map[string]string
	key   string
	kind  string
}

func (t text) String() string     { return t.given[t.key] }
func (t text) Set(s string) error { t.given[t.key] = s; return nil }
func (t text) Type() string       { return t.kind }

// flags adds the rows of the option table whose key has one of the prefixes,
// and --config. The returned function loads the configuration.
func (a *app) flags(cmd *cobra.Command, prefixes ...string) func() (Config, error) {
	return a.flagsOver(Default, cmd, prefixes...)
}

// flagsOver is flags with other defaults.
func (a *app) flagsOver(defaults func() Config, cmd *cobra.Command, prefixes ...string) func() (Config, error) {
	values := map[string]string{}
	fs := cmd.Flags()
	fs.SortFlags = false
	file := fs.String("config", "", "YAML `file` with options (env LB_CONFIG)")
	for _, o := range options {
		if !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(o.key, p) }) {
			continue
		}
		f := fs.VarPF(text{values, o.key, o.kind()}, o.key, "", o.about())
		if o.kind() == "" {
			f.NoOptDefVal = "true"
		}
		_ = cmd.RegisterFlagCompletionFunc(o.key, cobra.FixedCompletions(o.values, cobra.ShellCompDirectiveNoFileComp))
	}
	return func() (Config, error) {
		g := given{flags: values, environ: a.environ, name: *file, defaults: defaults}
		if g.name == "" {
			g.name = a.getenv("LB_CONFIG")
		}
		if g.name != "" {
			var err error
			if g.file, err = os.ReadFile(g.name); err != nil {
				return Config{}, fail(exitUsage, err, "")
			}
		}
		cfg, err := load(g)
		return cfg, fail(exitUsage, err, "lb config reference lists all options")
	}
}

func (a *app) getenv(name string) string {
	for _, kv := range slices.Backward(a.environ) {
		if n, v, ok := strings.Cut(kv, "="); ok && n == name {
			return v
		}
	}
	return ""
}

func (a *app) runCommand(name string) *cobra.Command {
	cmd := &cobra.Command{
		Use:     name,
		GroupID: "run",
		Short:   "Balance until a signal",
		Long:    "Follow Consul and serve until SIGINT or SIGTERM, which drains: others are told\nthat this balancer leaves, and requests in flight finish. A second signal forces.\n\nEvery option can be a flag, a variable or a line of the configuration file; they\ncount in this order.",
		Example: "  lb run\n  lb run --config lb.yaml --log.level debug\n  LB_REGISTRY_CONSUL_ADDR=10.0.0.5:8500 lb run",
		Args:    noArgs,
	}
	cmd.RunE = a.runner(cmd)
	return cmd
}

// runner gives cmd all options and returns what lb run does.
func (a *app) runner(cmd *cobra.Command) func(*cobra.Command, []string) error {
	load := a.flags(cmd, "")
	return func(cmd *cobra.Command, _ []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		log := a.logger(cfg.Log)
		return untilSignal(cmd.Context(), log, func(ctx context.Context) error { return run(ctx, cfg, a.out, log) })
	}
}

func (a *app) devCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "dev",
		GroupID: "run",
		Short:   "Try it: Consul, demo instances, load and balancer in one process",
		Long:    "Run a stand-in for Consul, a demo service with three instances (two stable, one\ncanary), a light load and the balancer in one process, and say what to try.\n\nThe balancer follows the stand-in: registry.consul.addr and the token, where\na variable or a file has them, do not count.\nPorts that are taken are replaced, unless they were chosen with an option.",
		Example: "  lb dev\n  lb dev --service shop",
		Args:    noArgs,
	}
	service := cmd.Flags().String("service", "web", "name of the demo service")
	load := a.flags(cmd, "")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		for _, key := range []string{"registry.consul.addr", "registry.consul.token", "registry.consul.token.file"} {
			if strings.HasPrefix(cfg.source(key), "flag ") {
				return fail(exitUsage, errors.New("lb dev follows a Consul of its own: --"+key+" would do nothing"), "lb run follows another Consul")
			}
		}
		log := a.logger(cfg.Log)
		return untilSignal(cmd.Context(), log, func(ctx context.Context) error { return dev(ctx, cfg, *service, a.out, log) })
	}
	return cmd
}

// untilSignal runs serve until it returns. The first SIGINT or SIGTERM ends its
// context; the second ends the wait for it. Whoever reads our output may go: a
// write then fails, and does not end the process.
func untilSignal(ctx context.Context, log hclog.Logger, serve func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	done := make(chan error, 1)
	go func() { done <- serve(ctx) }()
	select {
	case err := <-done:
		return err
	case s := <-signals:
		log.Info("stopping; a second signal forces", "signal", s.String())
		stop()
	}
	select {
	case err := <-done:
		return err
	case s := <-signals:
		return fail(exitInterrupted, errors.New("forced to stop by a second signal ("+s.String()+")"), "")
	}
}

// logger writes what the program has to say to a.err.
func (a *app) logger(l Log) hclog.Logger {
	color := hclog.ColorOff
	if _, file := a.err.(*os.File); file && l.Format == "auto" && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb" {
		color = hclog.AutoColor // only on a terminal
	}
	return hclog.New(&hclog.LoggerOptions{
		Name:       "lb",
		Level:      hclog.LevelFromString(l.Level),
		Output:     a.err,
		JSONFormat: l.Format == "json",
		Color:      color,
	})
}
