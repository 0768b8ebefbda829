package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// logFile is the access log's file, which may be moved away and opened anew
// (log rotation). It is safe for concurrent use.
type logFile struct {
	path string

	mu   sync.Mutex // guards file
	file *os.File
}

// Write appends to the file as it is open now.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Write(p)
}

// reopen opens the path anew. When that fails the old file stays in use.
func (l *logFile) reopen() error {
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
	}
	l.file = f
	return nil
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file.Close()
}

// hangups obeys SIGHUP until ctx ends: it opens the access log anew. Options
// are read at the start only; all else is live from Consul.
func (b *balancer) hangups(ctx context.Context) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	defer signal.Stop(signals)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-signals:
		}
		if b.logFile == nil {
			b.log.Info("SIGHUP: there is no access log file to open anew; changed options need a restart")
			continue
		}
		if err := b.logFile.reopen(); err != nil {
			b.log.Error("SIGHUP: the access log cannot be opened anew, the old file stays in use", "error", err)
			continue
		}
		b.log.Info("SIGHUP: the access log is open anew", "path", b.logFile.path)
	}
}
