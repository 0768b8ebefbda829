package canary_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"serin/canary"
	"serin/route"
)

// memory is a source of one's own: documents that come over a channel, by
// service. A table in a database, or a file, is the same with a poll.
type memory chan map[string]string

func (m memory) Run(ctx context.Context, emit func(canary.Event)) error {
	for revision := uint64(1); ; revision++ {
		select {
		case <-ctx.Done():
			return nil
		case texts := <-m:
			docs := map[string]canary.Raw{}
			for service, text := range texts {
				docs[service] = canary.Raw{Key: "memory:" + service, Value: []byte(text), Index: revision}
			}
			emit(canary.Event{Docs: docs, At: time.Now()})
		}
	}
}

func ExampleSource() {
	source, published := make(memory), make(chan route.Splits)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	c := &canary.Controller{
		Source:  source,
		Publish: func(splits route.Splits, _ []string) { published <- splits },
	}
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()

	source <- map[string]string{"web": `{"ratio": 0.1}`}
	fmt.Println((<-published).For("web").Ratio)
	source <- map[string]string{"web": `{"ratio": 0.25}`}
	fmt.Println((<-published).For("web").Ratio)
	stop()
	<-done
	// Output:
	// 0.1
	// 0.25
}

func ExampleHTTPSource() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("asked by", r.Header.Get("Lb-Node"))
		fmt.Fprint(w, `{"ratio": 0.1}`)
	}))
	defer server.Close()
	source := &canary.HTTPSource{
		URL:   server.URL + "/canary/web",
		Every: time.Minute,
		Self:  func() canary.Self { return canary.Self{Node: "edge-1"} },
	}
	ctx, stop := context.WithCancel(context.Background())
	source.Run(ctx, func(ev canary.Event) {
		fmt.Printf("%s %v\n", ev.Docs[""].Value, ev.Err)
		stop()
	})
	// Output:
	// asked by edge-1
	// {"ratio": 0.1} <nil>
}

func ExampleFileSource() {
	dir, _ := os.MkdirTemp("", "lb")
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "web.json")
	os.WriteFile(path, []byte(`{"ratio": 0.1}`), 0o600)

	ctx, stop := context.WithCancel(context.Background())
	(&canary.FileSource{Path: path}).Run(ctx, func(ev canary.Event) {
		fmt.Printf("%s %v\n", ev.Docs[""].Value, ev.Err)
		stop()
	})
	// Output: {"ratio": 0.1} <nil>
}
