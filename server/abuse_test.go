package server

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	abuseRequests = flag.Int("abuse.requests", 1000, "generated bad requests")
	abuseSeed     = flag.Uint64("abuse.seed", 1, "seed of the generator")
)

// heapGrowth is how much more memory may be in use after all bad requests than before.
const heapGrowth = 8 << 20

// TestAbuse sends generated bad requests to every route. Each is refused with words that name what is wrong, none makes a
// file or a session, and memory stays as it was.
func TestAbuse(t *testing.T) {
	a := serve(t, Options{})
	root := filepath.Dir(a.files.Output)
	g := newAbuser(*abuseSeed, routes, a)
	a.send(badRequest{method: http.MethodGet, path: "/sessions"}) // what is made at the first request is not the abuser's
	files, heap := filesBelow(t, root), heapInUse()
	counts := map[string]int{}
	for i := range *abuseRequests {
		bad := g.request(i)
		counts[bad.kind]++
		r := a.send(bad)
		if !refused(r) || !strings.Contains(r.body, bad.names) {
			t.Errorf("request %d of seed %d: %s: %s %s %q\nis answered %d %s\nwanted: a refusal that names %q",
				i, *abuseSeed, bad.kind, bad.method, clip(bad.path), clip(bad.body), r.status, clip(r.body), bad.names)
		}
	}
	t.Logf("seed %d: %v", *abuseSeed, counts)
	assert.Equal(t, files, filesBelow(t, root), "files")
	assert.Empty(t, a.server.options.Manager.Sessions())
	assert.Less(t, heapInUse(), heap+heapGrowth, "bytes of heap")
}

// refused tells whether an answer is a refusal: an error of the client, or one of the answers that say so with status 200,
// as SimpleTuner's clients expect.
func refused(r reply) bool {
	if r.status >= 400 && r.status < 500 {
		return true
	}
	for _, words := range []string{"Validation Failed", "Cannot Start Training", "Failed to save", `"is_valid":false`, `"valid":false`, "No Active Training"} {
		if r.status == http.StatusOK && strings.Contains(r.body, words) {
			return true
		}
	}
	return false
}

// send sends a request byte for byte as it is spelled. The body of one that is too large is announced only.
func (a *api) send(bad badRequest) reply {
	a.t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n", bad.method, bad.path, len(bad.body))
	if !slices.Contains(bad.headers, "Host") {
		text.WriteString("Host: localhost\r\n")
	}
	for i := 0; i < len(bad.headers); i += 2 {
		fmt.Fprintf(&text, "%s: %s\r\n", bad.headers[i], bad.headers[i+1])
	}
	text.WriteString("\r\n")
	if len(bad.body) <= bodyLimit {
		text.WriteString(bad.body)
	}
	return a.raw(text.String())
}

// raw sends bytes on a connection of their own and reads the answer.
func (a *api) raw(text string) reply {
	a.t.Helper()
	conn, err := net.Dial("tcp", a.address)
	require.NoError(a.t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(a.t, conn.SetDeadline(time.Now().Add(testTimeout)))
	_, _ = io.WriteString(conn, text) // the server may answer before it has read everything
	method, _, _ := strings.Cut(text, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	require.NoError(a.t, err, clip(text))
	body, err := io.ReadAll(response.Body)
	require.NoError(a.t, err, clip(text))
	return reply{response.StatusCode, response.Header, string(body)}
}

func clip(text string) string {
	if len(text) > 300 {
		return text[:300] + "…"
	}
	return text
}

func filesBelow(t *testing.T, root string) (files []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		files = append(files, path)
		return err
	}))
	return files
}

func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}
