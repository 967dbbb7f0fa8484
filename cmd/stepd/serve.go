package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/stepd/stepd/server"
	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/configs"
	"github.com/stepd/stepd/sessions/job/aitoolkit"
	"github.com/stepd/stepd/sessions/job/paths"
	"github.com/stepd/stepd/sessions/notify"
	"github.com/stepd/stepd/sessions/script"
	"github.com/stepd/stepd/sessions/worker"
)

// shutdownGrace is how long running steps and requests may take to finish when the server is asked to end.
const shutdownGrace = 2 * time.Minute

type serveOptions struct {
	listen, hosts []string
	data          string
	configs       string
	roots         aitoolkit.Roots
	limit         []string // --root
	noAuth        bool
	scripts       []string
	anyScript     bool
	allow         *script.Allow
	webhooks      []string
}

func serveCommand() *cobra.Command {
	var o serveOptions
	command := &cobra.Command{
		Use:   "serve",
		Short: "answer the HTTP APIs and train",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return serve(o) },
	}
	flags := command.Flags()
	flags.StringArrayVar(&o.listen, "listen", []string{"127.0.0.1:8001"}, "address to serve on; repeat for several")
	flags.StringArrayVar(&o.hosts, "host", nil, "name under which clients reach this server, besides localhost; repeat for several")
	flags.StringVar(&o.data, "data", "data", "folder for the index of sessions, the caches and the token")
	flags.StringVar(&o.configs, "config-dir", "", "folder of SimpleTuner's environments; empty: config in the data folder")
	flags.StringVar(&o.roots.Models, "models", "", "where relative model folders start; empty: the working directory")
	flags.StringVar(&o.roots.Datasets, "datasets", "", "where relative picture folders start; empty: the working directory")
	flags.StringVar(&o.roots.Outputs, "outputs", "", "where relative output folders start; empty: the working directory")
	flags.StringArrayVar(&o.limit, "root", nil, "folder that jobs may use, besides --models, --datasets and --outputs where these are given; without it, any; repeat for several")
	flags.StringArrayVar(&o.scripts, "allow-script", nil, "NAME=COMMAND… that jobs may start, by the name or by that very command; repeat for several")
	flags.BoolVar(&o.anyScript, "allow-client-scripts", false, "let jobs start any command; on loopback addresses only")
	flags.StringArrayVar(&o.webhooks, "allow-webhook", nil,
		"HOST[:PORT] of receivers of events that may be private, speak plain http or have any certificate; repeat for several")
	flags.BoolVar(&o.noAuth, "no-auth", false, "ask for no token; on loopback addresses only")
	return command
}

func serve(o serveOptions) error {
	log := newLogger()
	if err := o.complete(); err != nil {
		return err
	}
	listeners, err := server.Listen(o.listen)
	if err != nil {
		return usageError("%w", err)
	}
	if err := os.MkdirAll(o.data, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w; choose another one with --data", err)
	}
	token, err := o.token()
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program to start workers: %w", err)
	}
	core, err := native()
	if err != nil {
		return err
	}
	environments, err := configs.Open(o.configs)
	if err != nil {
		return err
	}
	ctx, stop := untilSignal(context.Background())
	defer stop()
	manager, err := sessions.Open(ctx, sessions.Options{DataDir: o.data, Logger: log, Scripts: o.allow, Limit: o.roots.Limit,
		Launcher: worker.Command{Path: program, Args: []string{"worker"}}})
	if err != nil {
		return err
	}
	notifier, err := newNotifier(manager, o.webhooks, log)
	if err != nil {
		return errors.Join(err, manager.Close(ctx))
	}
	notifier.Start()
	srv := server.New(server.Options{Manager: manager, Roots: o.roots, Configs: environments, Prober: core, Script: o.allow.Resolve,
		Deliver: notifier.Deliver, CheckReceiver: notifier.Check, Receivers: notifier.Status,
		Version: core.Info().Version, Token: token, Hosts: o.hosts, Logger: log})
	if o.anyScript {
		log.Warn("clients may start any command with the rights of this server, because of --allow-client-scripts")
	}
	announce(log, listeners)
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(listeners) }()
	select {
	case err = <-failed:
	case <-ctx.Done():
		log.Info("ending: every session finishes its step and writes a checkpoint")
	}
	ended, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	// The notifier ends first, for it reads the manager's store; what happens from here on is sent by the next server.
	return errors.Join(err, notifier.Close(), manager.Close(ended), srv.Shutdown(ended), environments.Close())
}

func announce(log *zap.Logger, listeners []net.Listener) {
	for _, listener := range listeners {
		log.Info("serving", zap.String("address", "http://"+listener.Addr().String()))
		if address, ok := listener.Addr().(*net.TCPAddr); ok && !address.IP.IsLoopback() {
			log.Warn("other machines reach this address, and the token crosses the network unencrypted; put a TLS proxy in front", zap.Stringer("address", address))
		}
	}
}

// complete makes paths absolute, and refuses to serve other machines without a token or to run whatever they like.
func (o *serveOptions) complete() error {
	if o.configs == "" {
		o.configs = filepath.Join(o.data, "config")
	}
	if err := o.limitJobs(); err != nil {
		return err
	}
	for _, path := range []*string{&o.data, &o.configs, &o.roots.Models, &o.roots.Datasets, &o.roots.Outputs} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return usageError("%w", err)
		}
		*path = absolute
	}
	if err := notify.CheckAllow(o.webhooks); err != nil {
		return usageError("%w", err)
	}
	if err := o.checkAddresses(); err != nil {
		return err
	}
	var err error
	if o.allow, err = script.ParseAllow(o.scripts, o.anyScript); err != nil {
		return usageError("--allow-script: %w", err)
	}
	return nil
}

// limitJobs keeps jobs within the folders of --root, and those that have flags of their own.
func (o *serveOptions) limitJobs() (err error) {
	if len(o.limit) == 0 {
		return nil
	}
	folders := o.limit
	for _, folder := range []string{o.roots.Models, o.roots.Datasets, o.roots.Outputs} {
		if folder != "" {
			folders = append(folders, folder)
		}
	}
	if o.roots.Outputs != "" { // the one that runs may have to make
		if err := os.MkdirAll(o.roots.Outputs, 0o755); err != nil {
			return usageError("--outputs: %w; name a folder that can be made", err)
		}
	}
	if o.roots.Limit, err = paths.New(folders); err != nil {
		return usageError("--root: %w", err)
	}
	return nil
}

// checkAddresses refuses to serve other machines without a token, and names under which no request can come.
func (o *serveOptions) checkAddresses() error {
	for _, address := range o.listen {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return usageError("--listen %q is not HOST:PORT", address)
		}
		ip := net.ParseIP(host)
		loopback := host == "localhost" || ip != nil && ip.IsLoopback()
		if o.noAuth && !loopback {
			return usageError("--no-auth works on loopback addresses only, and %s is not one; leave --no-auth out, so that clients need the token", address)
		}
		if o.anyScript && !loopback {
			return usageError("--allow-client-scripts works on loopback addresses only, and %s is not one; name each command with --allow-script", address)
		}
	}
	for _, host := range o.hosts {
		if net.ParseIP(host) == nil && strings.ContainsAny(host, ":/@ ") {
			return usageError("--host %q is more than a name; leave out scheme, port and path", host)
		}
	}
	return nil
}

// newLogger writes lines for people to stderr.
func newLogger() *zap.Logger {
	config := zap.NewDevelopmentConfig()
	config.Level = zap.NewAtomicLevelAt(zap.InfoLevel)
	config.DisableCaller, config.DisableStacktrace = true, true
	log, err := config.Build()
	if err != nil {
		return zap.NewNop()
	}
	return log
}
