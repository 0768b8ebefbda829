package guard

import (
	"strings"
	"testing"
)

// endless repeats one message for ever, read by read.
type endless struct {
	input
	message []byte
}

func (c *endless) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		c.in = c.message
	}
	return c.input.Read(p)
}

func BenchmarkRead(b *testing.B) {
	head := "Host: www.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\nConnection: keep-alive\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n"
	for name, m := range map[string]struct {
		message string
		step    int
	}{
		"get":         {"GET /path/to?query=1 HTTP/1.1\r\n" + head + "\r\n", 1 << 20},
		"get-3-reads": {"GET /path/to?query=1 HTTP/1.1\r\n" + head + "\r\n", 150},
		"post-64k":    {"POST / HTTP/1.1\r\n" + head + "Content-Length: 65536\r\n\r\n" + strings.Repeat("x", 65536), 1 << 20},
		"chunked-64k": {"POST / HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n" +
			strings.Repeat("2000\r\n"+strings.Repeat("x", 8192)+"\r\n", 8) + "0\r\n\r\n", 1 << 20},
	} {
		b.Run(name, func(b *testing.B) {
			c := New(&endless{input{step: always(m.step)}, []byte(m.message)}, Options{})
			p := make([]byte, 4096)
			b.ReportAllocs()
			b.SetBytes(int64(len(m.message)))
			for b.Loop() {
				for got := 0; got < len(m.message); {
					n, err := c.Read(p)
					if err != nil {
						b.Fatal(err)
					}
					got += n
				}
			}
		})
	}
}

// A request costs no allocation once the connection stands.
func TestReadDoesNotAllocate(t *testing.T) {
	message := "POST /a HTTP/1.1\r\nHost: a.example:80\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\n\r\n"
	c := New(&endless{input{step: always(1 << 20)}, []byte(message)}, Options{})
	p := make([]byte, 4096)
	if got := testing.AllocsPerRun(100, func() {
		for c.begun = false; !c.begun || c.state != atHead; {
			if _, err := c.Read(p); err != nil {
				t.Fatal(err)
			}
		}
	}); got > 0 {
		t.Errorf("%v allocations per request", got)
	}
}
