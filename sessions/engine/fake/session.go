package fake

import (
	"context"
	"errors"
	"math"
	"os"
	"sync/atomic"
	"time"

	"github.com/stepd/stepd/sessions/engine"
)

// weights is the number of trained parameters.
const weights = 8

// state is everything that training changes.
type state struct {
	Step    int64            `json:"step"`
	Weights [weights]float64 `json:"weights"`
}

type session struct {
	engine   *Engine
	config   engine.Config
	faults   Faults
	sink     engine.Sink
	gate     *os.File
	samples  []engine.Sample
	state    state
	step     atomic.Int64  // state.Step for other goroutines
	cancel   chan struct{} // holds one token while a cancellation is pending
	poisoned bool
	closed   bool
}

// SetSamples implements engine.Session.
func (s *session) SetSamples(samples []engine.Sample, empty engine.TextFile) error {
	for _, sample := range samples {
		for _, path := range []string{sample.Latents, sample.Text} {
			if _, err := os.Stat(path); err != nil {
				return engine.Errorf(engine.NotFound, "cached file: %v", err)
			}
		}
	}
	s.samples = samples
	return nil
}

// Train implements engine.Session.
func (s *session) Train(ctx context.Context, steps []engine.Step) (engine.Result, error) {
	var result engine.Result
	if s.poisoned {
		return result, poisoned()
	}
	s.drainCancel()
	for _, step := range steps {
		if ctx.Err() != nil || s.cancelled() {
			result.Cancelled = true
			return result, nil
		}
		if err := s.trainStep(ctx, step); err != nil {
			return result, err
		}
		result.Steps++
	}
	return result, nil
}

func (s *session) trainStep(ctx context.Context, step engine.Step) error {
	started := time.Now()
	number := s.state.Step + 1
	if err := s.waitGate(ctx); err != nil {
		return err
	}
	if err := s.beforeStep(number); err != nil {
		return err
	}
	if s.engine.OnStep != nil {
		if err := s.engine.OnStep(ctx, number); err != nil {
			return err
		}
	}
	next := s.state
	for _, batch := range step.Batches {
		seed := mix(s.config.Seed*1000003, uint64(batch.Index))
		for _, sample := range batch.Samples {
			if sample < 0 || sample >= len(s.samples) {
				return engine.Errorf(engine.Invalid, "%v", missing("sample", sample))
			}
			for i := range next.Weights {
				gradient := unit(mix(seed, identity(s.samples[sample])+uint64(i))) - 0.5
				next.Weights[i] += s.config.Optimizer.LR * (gradient - 0.1*next.Weights[i])
			}
		}
	}
	next.Step = number
	s.state = next
	s.step.Store(number)
	loss := 0.0
	for _, weight := range next.Weights {
		loss += weight * weight
	}
	s.sink.OnStep(engine.StepEvent{Step: number, Loss: math.Sqrt(loss), LR: s.config.Optimizer.LR, GradNorm: loss,
		Seconds: time.Since(started).Seconds()})
	return nil
}

// waitGate reads one byte of the gate; a cancellation stands in for it.
func (s *session) waitGate(ctx context.Context) error {
	if s.gate == nil {
		return nil
	}
	stop := context.AfterFunc(ctx, s.Cancel)
	defer stop()
	if err := s.gate.SetReadDeadline(time.Time{}); err != nil {
		return asIO(err)
	}
	if ctx.Err() != nil || len(s.cancel) > 0 {
		return nil
	}
	var token [1]byte
	if _, err := s.gate.Read(token[:]); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return asIO(err)
	}
	return nil
}

// Cancel implements engine.Session.
func (s *session) Cancel() {
	select {
	case s.cancel <- struct{}{}:
	default:
	}
	if s.gate != nil {
		// Wakes the reader; a closed gate has none.
		_ = s.gate.SetReadDeadline(time.Unix(1, 0))
	}
}

func (s *session) cancelled() bool {
	select {
	case <-s.cancel:
		return true
	default:
		return false
	}
}

func (s *session) drainCancel() { s.cancelled() }

// Step implements engine.Session.
func (s *session) Step() int64 { return s.step.Load() }

// Close implements engine.Session.
func (s *session) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	if s.gate != nil {
		return s.gate.Close()
	}
	return nil
}
