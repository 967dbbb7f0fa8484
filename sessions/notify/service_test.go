package notify

import (
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/job"
)

const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func status(code int) func(http.ResponseWriter, int, received) {
	return func(w http.ResponseWriter, _ int, _ received) { w.WriteHeader(code) }
}

func TestEveryEventComesOnceInOrderAndSigned(t *testing.T) {
	dir := t.TempDir()
	m := openManager(t, dir)
	first, second := newReceiver(t, nil), newReceiver(t, status(http.StatusNoContent))
	webhook := first.webhook()
	webhook.Secret, webhook.AuthToken = testSecret, "token-for-you"
	start(t, m, Options{})
	s := train(t, m, dir, webhook, second.webhook())
	last := s.Snapshot().LastEvent
	got := first.waitIndex(t, last)
	require.Equal(t, upTo(last), indexes(got))
	require.Equal(t, upTo(last), indexes(second.waitIndex(t, last)))
	verifier, err := standardwebhooks.NewWebhook(testSecret)
	require.NoError(t, err)
	ids := map[string]bool{}
	for _, one := range got {
		require.NoError(t, verifier.Verify(one.body, one.header))
		assert.Equal(t, "token-for-you", one.header.Get("X-API-Key"))
		assert.Equal(t, "application/json", one.header.Get("Content-Type"))
		ids[one.header.Get("webhook-id")] = true
	}
	assert.Len(t, ids, len(got), "every event has an id of its own")
	assert.Empty(t, second.got[0].header.Get("webhook-signature"))
}

func answer(code int, header, value string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		if header != "" {
			w.Header().Set(header, value)
		}
		w.WriteHeader(code)
	}
}

func hangUp(w http.ResponseWriter) {
	if connection, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = connection.Close()
	}
}

// What a receiver does to the first two tries of an event, how long the service waits after each, and that every try is
// the same.
func TestFailuresAreTriedAgain(t *testing.T) {
	secret := newReceiver(t, nil)
	planned := []time.Duration{schedule[0], schedule[1]}
	cases := []struct {
		name   string
		answer func(w http.ResponseWriter)
		waits  []time.Duration
	}{
		{"server error", answer(500, "", ""), planned},
		{"redirect to a private host", answer(307, "Location", secret.server.URL), planned},
		{"connection closed", hangUp, planned},
		{"busy, without a wait", answer(429, "", ""), planned},
		{"busy, with a wait in seconds", answer(429, "Retry-After", "7"), []time.Duration{7 * time.Second, 7 * time.Second}},
		{"busy, with a fraction of a second", answer(429, "Retry-After", "0.64"), []time.Duration{time.Second, time.Second}},
		{"busy, with a date", answer(429, "Retry-After", newFakeClock().now.Add(time.Minute).UTC().Format(http.TimeFormat)),
			[]time.Duration{time.Minute, time.Second}},
		{"maintenance", answer(503, "Retry-After", "3600"), []time.Duration{time.Hour, time.Hour}},
		{"a wait of years", answer(503, "Retry-After", "99999999999999999999"), []time.Duration{24 * time.Hour, 24 * time.Hour}},
		{"a wait that is no number", answer(503, "Retry-After", "soon"), planned},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			m := openManager(t, dir)
			r := newReceiver(t, func(w http.ResponseWriter, number int, _ received) {
				if number <= 2 {
					c.answer(w)
				}
			})
			webhook := r.webhook()
			webhook.Secret = testSecret
			s := train(t, m, dir, webhook)
			clock := newFakeClock()
			start(t, m, Options{Clock: clock})
			for _, wait := range c.waits {
				assert.Equal(t, wait, clock.next(t))
			}
			last := s.Snapshot().LastEvent
			got := r.waitIndex(t, last)
			require.Equal(t, append([]int64{1, 1}, upTo(last)...), indexes(got))
			for _, one := range got[:3] {
				assert.Equal(t, got[0].body, one.body)
				assert.Equal(t, got[0].header.Get("webhook-id"), one.header.Get("webhook-id"))
			}
			assert.Empty(t, secret.got, "redirects are not followed")
		})
	}
}

func TestWaitsHaveJitter(t *testing.T) {
	dir := t.TempDir()
	m := openManager(t, dir)
	r := newReceiver(t, status(500))
	train(t, m, dir, r.webhook())
	clock := newFakeClock()
	start(t, m, Options{Clock: clock, Random: func() float64 { return 0.5 }})
	assert.Equal(t, 5500*time.Millisecond, clock.next(t))
	assert.Equal(t, 330*time.Second, clock.next(t))
}

func TestAReceiverThatWasAwayForThreeDaysMissesNothing(t *testing.T) {
	dir := t.TempDir()
	m := openManager(t, dir)
	clock := newFakeClock()
	back := clock.Now().Add(72 * time.Hour)
	r := newReceiver(t, func(w http.ResponseWriter, _ int, _ received) {
		if clock.Now().Before(back) {
			w.WriteHeader(502)
		}
	})
	s := train(t, m, dir, r.webhook())
	start(t, m, Options{Clock: clock})
	for clock.Now().Before(back) {
		clock.next(t)
	}
	last := s.Snapshot().LastEvent
	got := indexes(r.waitIndex(t, last))
	assert.Equal(t, upTo(last), got[len(schedule):])
}

func TestAReceiverThatStaysAwayIsGivenUp(t *testing.T) {
	cases := []struct {
		name, retryAfter string
		waits            int
	}{{"fails", "", len(schedule)}, {"is always busy", "3600", int(patience().Hours()) + 1}}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			m := openManager(t, dir)
			r := newReceiver(t, func(w http.ResponseWriter, _ int, _ received) {
				w.Header().Set("Retry-After", c.retryAfter)
				w.WriteHeader(429)
			})
			s := train(t, m, dir, r.webhook())
			clock := newFakeClock()
			logger, disabled := heard("webhook is disabled for this session")
			service := start(t, m, Options{Clock: clock, Logger: logger})
			for range c.waits {
				clock.next(t)
			}
			<-disabled
			require.NoError(t, service.Close())
			list, err := service.Status(testContext(t), s)
			require.NoError(t, err)
			assert.Equal(t, "given up: status 429", list[0].Problem)
			require.Len(t, list[0].DeadLetters, 1)
			assert.Equal(t, [2]int64{1, s.Snapshot().LastEvent}, [2]int64{list[0].DeadLetters[0].From, list[0].DeadLetters[0].To})
		})
	}
}

func TestGoneDisablesOneReceiverOnly(t *testing.T) {
	dir := t.TempDir()
	m := openManager(t, dir)
	leaving := newReceiver(t, func(w http.ResponseWriter, number int, _ received) {
		if number == 3 {
			w.WriteHeader(http.StatusGone)
		}
	})
	staying := newReceiver(t, nil)
	logger, disabled := heard("webhook is disabled for this session")
	service := start(t, m, Options{Logger: logger})
	s := train(t, m, dir, leaving.webhook(), staying.webhook())
	last := s.Snapshot().LastEvent
	require.Equal(t, upTo(last), indexes(staying.waitIndex(t, last)))
	<-disabled
	require.NoError(t, service.Close())
	list, err := service.Status(testContext(t), s)
	require.NoError(t, err)
	assert.True(t, list[0].Disabled)
	assert.Equal(t, int64(2), list[0].Settled)
	require.Len(t, list[0].DeadLetters, 1)
	assert.Equal(t, [2]int64{3, last}, [2]int64{list[0].DeadLetters[0].From, list[0].DeadLetters[0].To})
	assert.False(t, list[1].Disabled)

	start(t, m, Options{})
	assert.Len(t, leaving.wait(t, func(got []received) bool { return true }), 3, "a restart does not ask again")
}

func TestARefusedEventIsADeadLetterAndTheNextOneFollows(t *testing.T) {
	dir := t.TempDir()
	m := openManager(t, dir)
	r := newReceiver(t, func(w http.ResponseWriter, _ int, request received) {
		if i := request.object.Index; i == 2 || i == 3 || i == 5 {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	})
	service := start(t, m, Options{})
	s := train(t, m, dir, r.webhook())
	last := s.Snapshot().LastEvent
	require.Equal(t, upTo(last), indexes(r.waitIndex(t, last)))
	require.NoError(t, service.Close())
	list, err := service.Status(testContext(t), s)
	require.NoError(t, err)
	require.Len(t, list[0].DeadLetters, 2)
	assert.Equal(t, [2]int64{2, 3}, [2]int64{list[0].DeadLetters[0].From, list[0].DeadLetters[0].To})
	assert.Equal(t, int64(5), list[0].DeadLetters[1].From)
	assert.Equal(t, "status 422", list[0].DeadLetters[1].Problem)
}

func TestAnEventThatCannotBeEncodedIsADeadLetter(t *testing.T) {
	dir := t.TempDir()
	m := openManager(t, dir)
	r := newReceiver(t, nil)
	s := train(t, m, dir, r.webhook())
	service := start(t, m, Options{Encode: func(s *sessions.Session, e sessions.Event) (Payload, bool) {
		switch e.Index {
		case 2:
			panic("defect")
		case 3:
			return Payload{Severity: "info", Body: map[string]any{"loss": math.NaN()}}, true
		}
		return encodeTest(s, e)
	}})
	last := s.Snapshot().LastEvent
	got := indexes(r.waitIndex(t, last))
	assert.Equal(t, append([]int64{1}, upTo(last)[3:]...), got)
	list, err := service.Status(testContext(t), s)
	require.NoError(t, err)
	require.Len(t, list[0].DeadLetters, 2)
	assert.Equal(t, "event cannot be encoded: defect", list[0].DeadLetters[0].Problem)
	assert.Equal(t, int64(3), list[0].DeadLetters[1].From)
}

func TestASlowReceiverDelaysNobody(t *testing.T) {
	dir := t.TempDir()
	m := openManager(t, dir)
	release := make(chan struct{})
	slow := newReceiver(t, func(http.ResponseWriter, int, received) { <-release })
	quick := newReceiver(t, nil)
	service := start(t, m, Options{})
	s := train(t, m, dir, slow.webhook(), quick.webhook())
	quick.waitIndex(t, s.Snapshot().LastEvent)
	assert.Len(t, slow.wait(t, func(got []received) bool { return len(got) > 0 }), 1)
	require.NoError(t, service.Close(), "a request on its way does not hold up the end")
	close(release)
}

func TestSilenceIsAFailureAndASlowReplyIsNot(t *testing.T) {
	dir := t.TempDir()
	m := openManager(t, dir)
	release := make(chan struct{})
	r := newReceiver(t, func(w http.ResponseWriter, number int, _ received) {
		switch number {
		case 1: // never a word
			<-release
		case 2: // a status, and then nothing
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-release
		}
	})
	defer close(release)
	s := train(t, m, dir, r.webhook())
	clock := newFakeClock()
	service, err := New(Options{Manager: m, Encode: encodeTest, Allow: []string{"127.0.0.1"}, Clock: clock, Random: func() float64 { return 0 }})
	require.NoError(t, err)
	service.sender.client.Timeout = time.Second // what a machine under load needs for a good reply
	service.Start()
	defer func() { assert.NoError(t, service.Close()) }()
	assert.Equal(t, schedule[0], clock.next(t))
	last := s.Snapshot().LastEvent
	assert.Equal(t, append([]int64{1}, upTo(last)...), indexes(r.waitIndex(t, last)))
}

func TestAReceiverAtAnIPv6Address(t *testing.T) {
	listener, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6")
	}
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	service, err := New(Options{Manager: openManager(t, t.TempDir()), Allow: []string{"::1"}})
	require.NoError(t, err)
	require.NoError(t, service.Deliver(testContext(t), job.Webhook{Type: job.WebhookRaw, URL: "http://" + listener.Addr().String()}, Payload{Type: "test"}))
}

func TestAnEndlessReplyIsNotRead(t *testing.T) {
	dir := t.TempDir()
	m := openManager(t, dir)
	written := make(chan int, 100)
	r := newReceiver(t, func(w http.ResponseWriter, number int, _ received) {
		if number > 1 {
			return
		}
		total := 0
		for chunk := make([]byte, 1<<20); total < 1<<30; total += len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				break
			}
		}
		written <- total
	})
	start(t, m, Options{})
	s := train(t, m, dir, r.webhook())
	assert.Less(t, <-written, 64<<20)
	last := s.Snapshot().LastEvent
	require.Equal(t, upTo(last), indexes(r.waitIndex(t, last)), "2xx counts whatever follows")
}

func TestARestartContinuesWhereTheServerEnded(t *testing.T) {
	for _, orderly := range []bool{true, false} {
		dir := t.TempDir()
		m := openManager(t, dir)
		stop := make(chan struct{})
		r := newReceiver(t, func(_ http.ResponseWriter, number int, _ received) {
			if number == 5 {
				close(stop)
			}
		})
		s := train(t, m, dir, r.webhook())
		service := start(t, m, Options{})
		<-stop
		if orderly {
			require.NoError(t, service.Close())
		} else {
			// A crash: what was noted is lost.
			service.cancel()
			service.work.Wait()
			service.ledger.mu.Lock()
			service.ledger.rows = map[rowKey]storeDelivery{}
			service.ledger.mu.Unlock()
		}
		r.settle(t) // a request on its way would be told among those of the next service
		start(t, m, Options{})
		last := s.Snapshot().LastEvent
		got := r.waitIndex(t, last)
		seen := map[int64][]byte{}
		highest := int64(0)
		for _, one := range got {
			i := one.object.Index
			if i <= highest {
				assert.Equal(t, seen[i], one.body, "a repeated event is the same")
				highest = i
				continue
			}
			require.Equal(t, highest+1, i)
			highest, seen[i] = i, one.body
		}
		if orderly {
			assert.LessOrEqual(t, len(got), int(last)+1, "at most the request on its way is repeated")
		}
	}
}

func TestLevelsAndIntervals(t *testing.T) {
	dir := t.TempDir()
	m := openManager(t, dir)
	warnings, everyFive := newReceiver(t, nil), newReceiver(t, nil)
	strict, sparse := warnings.webhook(), everyFive.webhook()
	strict.Level, sparse.Interval, sparse.Level = "warning", 5, ""
	s := train(t, m, dir, strict, sparse)
	events, err := s.Events(testContext(t), 0, 1000)
	require.NoError(t, err)
	var wantWarnings, wantSparse []int64
	steps := int64(0)
	for _, e := range events {
		if e.Kind == sessions.KindWarning {
			wantWarnings = append(wantWarnings, e.Index)
		}
		if e.Kind == sessions.KindStep {
			if steps++; steps%5 != 0 {
				continue
			}
		}
		if payload, _ := encodeTest(s, e); payload.Severity != "debug" {
			wantSparse = append(wantSparse, e.Index)
		}
	}
	require.Equal(t, int64(20), steps)
	start(t, m, Options{})
	got := everyFive.waitIndex(t, wantSparse[len(wantSparse)-1])
	assert.Equal(t, wantSparse, indexes(got))
	assert.Equal(t, wantWarnings, indexes(warnings.wait(t, func(got []received) bool { return len(got) >= len(wantWarnings) })))
}

func TestADeletedSessionIsForgotten(t *testing.T) {
	dir := t.TempDir()
	m := openManager(t, dir)
	r := newReceiver(t, status(500))
	s := train(t, m, dir, r.webhook())
	clock := newFakeClock()
	start(t, m, Options{Clock: clock})
	r.wait(t, func(got []received) bool { return len(got) == 1 })
	require.NoError(t, m.Delete(testContext(t), s.ID()))
	other := newReceiver(t, nil)
	next := train(t, m, t.TempDir(), other.webhook())
	other.waitIndex(t, next.Snapshot().LastEvent)
	clock.next(t)
	assert.Len(t, r.wait(t, func([]received) bool { return true }), 1)
}

func TestSecretsAppearNowhere(t *testing.T) {
	dir := t.TempDir()
	m := openManager(t, dir)
	core, logs := observer.New(zap.DebugLevel)
	r := newReceiver(t, status(500))
	webhook := r.webhook()
	webhook.Secret, webhook.AuthToken = testSecret, "auth-token-value"
	down := job.Webhook{Type: job.WebhookDiscord, URL: "http://127.0.0.1:1/api/webhooks/1/discord-token", Level: "debug"}
	s := train(t, m, dir, webhook, down)
	clock := newFakeClock()
	service := start(t, m, Options{Clock: clock, Logger: zap.New(core)})
	clock.next(t)
	clock.next(t)
	list, err := service.Status(testContext(t), s)
	require.NoError(t, err)
	var text strings.Builder
	for _, entry := range logs.All() {
		text.WriteString(entry.Message)
		for key, value := range entry.ContextMap() {
			text.WriteString(key + "=" + toText(value))
		}
	}
	text.WriteString(toText(list))
	for _, secret := range []string{"secret-path", "whsec", testSecret[6:], "auth-token-value", "discord-token"} {
		assert.NotContains(t, text.String(), secret)
	}
	assert.Contains(t, text.String(), "127.0.0.1")
}

func TestManyReceiversOneOfThemBad(t *testing.T) {
	dir := t.TempDir()
	m := openManager(t, dir)
	bad := newReceiver(t, status(500))
	receivers := []job.Webhook{bad.webhook()}
	good := make([]*receiver, 20)
	for i := range good {
		good[i] = newReceiver(t, nil)
		receivers = append(receivers, good[i].webhook())
	}
	start(t, m, Options{Clock: newFakeClock()})
	s := train(t, m, dir, receivers...)
	last := s.Snapshot().LastEvent
	for _, r := range good {
		require.Equal(t, upTo(last), indexes(r.waitIndex(t, last)))
	}
	assert.Len(t, bad.wait(t, func(got []received) bool { return len(got) > 0 }), 1)
}
