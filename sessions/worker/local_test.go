package worker

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/engine/fake"
)

// TestAGoroutineLeavesNothingBehind ends workers in a bubble, which does not end before every goroutine in it has.
func TestAGoroutineLeavesNothingBehind(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, s *supervisor){
		"completed": func(t *testing.T, s *supervisor) {
			require.NoError(t, s.w.Send(Message{Type: TypeAllow, Step: 20}))
		},
		"aborted":    func(t *testing.T, s *supervisor) { require.NoError(t, s.w.Send(Message{Type: TypeAbort})) },
		"terminated": func(t *testing.T, s *supervisor) { s.w.Terminate() },
		"killed":     func(t *testing.T, s *supervisor) { s.w.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			j := fixture.Job(t, t.TempDir())
			synctest.Test(t, func(t *testing.T) {
				s := start(t, Local{Engine: &fake.Engine{}}, j)
				s.next(TypePaused)
				end(t, s)
				s.end()
			})
		})
	}
}

// watched counts sessions that are open.
type watched struct {
	fake.Engine
	open int
}

func (w *watched) Open(ctx context.Context, config engine.Config, sink engine.Sink) (engine.Session, error) {
	session, err := w.Engine.Open(ctx, config, sink)
	if err != nil {
		return nil, err
	}
	w.open++
	return &watchedSession{Session: session, watched: w}, nil
}

type watchedSession struct {
	engine.Session
	watched *watched
	closed  bool
}

func (s *watchedSession) Close() error {
	if !s.closed {
		s.closed = true
		s.watched.open--
	}
	return s.Session.Close()
}

func TestAPanicEndsOneSessionAndGivesEverythingBack(t *testing.T) {
	e := &watched{Engine: fake.Engine{OnStep: func(_ context.Context, step int64) error {
		if step == 3 {
			panic("ordered by the test")
		}
		return nil
	}}}
	j := fixture.Job(t, t.TempDir())
	s := start(t, Local{Engine: e}, j)
	s.next(TypePaused)
	require.NoError(t, s.w.Send(Message{Type: TypeAllow, Step: 20}))
	finished := s.next(TypeFinished)
	require.NotNil(t, finished.Error)
	assert.Equal(t, engine.Internal, finished.Error.Code)
	assert.Contains(t, finished.Error.Message, "ordered by the test")
	s.end()
	assert.Zero(t, e.open, "the model is closed")
	unlock, err := checkpoint.Lock(t.Context(), j.RunDir(), nil)
	require.NoError(t, err, "the run folder is free")
	unlock()
}
