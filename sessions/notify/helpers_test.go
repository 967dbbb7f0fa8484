package notify

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/store"
	"github.com/stepd/stepd/sessions/worker"
)

const testTimeout = 30 * time.Second

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

func openManager(t testing.TB, dir string) *sessions.Manager {
	t.Helper()
	m, err := sessions.Open(testContext(t), sessions.Options{DataDir: filepath.Join(dir, "data"), Launcher: worker.Local{Engine: &fake.Engine{}}})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		assert.NoError(t, m.Close(ctx))
	})
	return m
}

// train runs the fixture's job of 20 steps to its end and returns the session with its receivers.
func train(t testing.TB, m *sessions.Manager, dir string, receivers ...job.Webhook) *sessions.Session {
	t.Helper()
	s := create(t, m, dir, receivers...)
	snapshot, err := s.Wait(testContext(t), func(snapshot sessions.Snapshot) bool { return snapshot.Finished() })
	require.NoError(t, err)
	require.Equal(t, sessions.Completed, snapshot.State, snapshot.Error)
	return s
}

func create(t testing.TB, m *sessions.Manager, dir string, receivers ...job.Webhook) *sessions.Session {
	t.Helper()
	text, err := json.Marshal(receivers)
	require.NoError(t, err)
	s, err := m.Create(testContext(t), sessions.CreateRequest{Job: fixture.Job(t, dir), Grant: 20, Labels: map[string]string{Label: string(text)}})
	require.NoError(t, err)
	return s
}

// encodeTest tells index and kind of every event.
func encodeTest(_ *sessions.Session, e sessions.Event) (Payload, bool) {
	severity := map[sessions.Kind]string{sessions.KindStage: "debug", sessions.KindPlan: "debug", sessions.KindWarning: "warning"}[e.Kind]
	if severity == "" {
		severity = "info"
	}
	return Payload{Type: string(e.Kind), Severity: severity, Message: "event " + string(e.Kind), Body: map[string]any{"index": e.Index, "data": e.Data}}, true
}

// start runs a service on m until the end of the test.
func start(t testing.TB, m *sessions.Manager, o Options) *Service {
	t.Helper()
	o.Manager = m
	if o.Encode == nil {
		o.Encode = encodeTest
	}
	if o.Allow == nil {
		o.Allow = []string{"127.0.0.1"}
	}
	if o.Random == nil {
		o.Random = func() float64 { return 0 }
	}
	s, err := New(o)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// received is one request that a receiver got.
type received struct {
	header http.Header
	body   []byte
	object struct {
		Type  string `json:"type"`
		Index int64  `json:"index"`
	}
}

// receiver records requests; what it answers, answer says, with the number of the request from 1.
type receiver struct {
	server *httptest.Server
	mu     sync.Mutex
	got    []received
	news   chan struct{}
	busy   atomic.Int64 // requests that are being answered
}

func newReceiver(t testing.TB, answer func(w http.ResponseWriter, number int, request received)) *receiver {
	t.Helper()
	r := &receiver{news: make(chan struct{})}
	r.server = httptest.NewServer(r.handler(answer))
	t.Cleanup(r.server.Close)
	return r
}

func newTLSReceiver(t testing.TB) *receiver {
	t.Helper()
	r := &receiver{news: make(chan struct{})}
	r.server = httptest.NewUnstartedServer(r.handler(nil))
	r.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.server.StartTLS()
	t.Cleanup(r.server.Close)
	return r
}

// trust makes a service accept the receiver's certificate, which names 127.0.0.1 and example.com.
func trust(s *Service, r *receiver) {
	roots := x509.NewCertPool()
	roots.AddCert(r.server.Certificate())
	s.sender.client.Transport.(*http.Transport).TLSClientConfig.RootCAs = roots
}

func (r *receiver) handler(answer func(w http.ResponseWriter, number int, request received)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.busy.Add(1)
		defer r.busy.Add(-1)
		body, _ := io.ReadAll(request.Body)
		one := received{header: request.Header, body: body}
		_ = json.Unmarshal(body, &one.object)
		r.mu.Lock()
		r.got = append(r.got, one)
		number := len(r.got)
		close(r.news)
		r.news = make(chan struct{})
		r.mu.Unlock()
		if answer != nil {
			answer(w, number, one)
		}
	})
}

// settle ends what is on its way from a service that has stopped.
func (r *receiver) settle(t testing.TB) {
	t.Helper()
	r.server.CloseClientConnections()
	require.Eventually(t, func() bool { return r.busy.Load() == 0 }, testTimeout, time.Millisecond)
}

func (r *receiver) webhook() job.Webhook {
	return job.Webhook{Type: job.WebhookRaw, URL: r.server.URL + "/secret-path", Level: "debug"}
}

// wait returns what came when done is true of it.
func (r *receiver) wait(t testing.TB, done func([]received) bool) []received {
	t.Helper()
	ctx := testContext(t)
	for {
		r.mu.Lock()
		got, news := append([]received(nil), r.got...), r.news
		r.mu.Unlock()
		if done(got) {
			return got
		}
		select {
		case <-news:
		case <-ctx.Done():
			t.Fatalf("waited in vain; %d requests came", len(got))
		}
	}
}

// waitIndex waits until the event with this index has come.
func (r *receiver) waitIndex(t testing.TB, index int64) []received {
	t.Helper()
	return r.wait(t, func(got []received) bool { return len(got) > 0 && got[len(got)-1].object.Index == index })
}

func indexes(got []received) (list []int64) {
	for _, one := range got {
		list = append(list, one.object.Index)
	}
	return list
}

func upTo(last int64) (list []int64) {
	for i := range last {
		list = append(list, i+1)
	}
	return list
}

// fakeClock stands still until a test moves it.
type fakeClock struct {
	mu      sync.Mutex
	now     time.Time
	waiting map[chan time.Time]time.Time
	more    chan struct{}
}

func newFakeClock() *fakeClock {
	return &fakeClock{now: time.Unix(1_700_000_000, 0), waiting: map[chan time.Time]time.Time{}, more: make(chan struct{})}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	c.waiting[ch] = c.now.Add(d)
	close(c.more)
	c.more = make(chan struct{})
	return ch
}

// next waits until somebody waits, moves the clock to the end of the shortest wait and returns how long that was.
func (c *fakeClock) next(t testing.TB) time.Duration {
	t.Helper()
	ctx := testContext(t)
	for {
		c.mu.Lock()
		var first chan time.Time
		for ch, at := range c.waiting {
			if first == nil || at.Before(c.waiting[first]) {
				first = ch
			}
		}
		more := c.more
		if first != nil {
			waited := c.waiting[first].Sub(c.now)
			c.now = c.waiting[first]
			delete(c.waiting, first)
			first <- c.now
			c.mu.Unlock()
			return waited
		}
		c.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			t.Fatal("nobody waits for the clock")
		}
	}
}

// fakeDNS answers with the addresses of a name in turn, the last one for ever.
type fakeDNS map[string][]string

func (d fakeDNS) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	list := d[host]
	if len(list) == 0 {
		return nil, &unknownHost{host}
	}
	if len(list) > 1 {
		d[host] = list[1:]
	}
	return []netip.Addr{netip.MustParseAddr(list[0])}, nil
}

type unknownHost struct{ host string }

func (e *unknownHost) Error() string { return "no such host " + e.host }

type storeDelivery = store.Delivery

func toText(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// heard returns a logger, and a channel that is closed when the message is logged.
func heard(message string) (*zap.Logger, <-chan struct{}) {
	core, _ := observer.New(zap.DebugLevel)
	logged := make(chan struct{})
	var once sync.Once
	return zap.New(core, zap.Hooks(func(entry zapcore.Entry) error {
		if entry.Message == message {
			once.Do(func() { close(logged) })
		}
		return nil
	})), logged
}
