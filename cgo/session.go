//go:build cgo && !nonative

package cgo

/*
#include "stepd/stepd.h"

extern void stepd_go_event(void* user_data, int32_t kind, char* json, size_t json_size);

static void forward_event(void* user_data, int32_t kind, const char* json, size_t json_size) {
    stepd_go_event(user_data, kind, (char*)json, json_size);
}

static stepd_status create(const char* config, size_t size, void* user_data, const stepd_cancellation* cancellation,
                           stepd_session** out, stepd_error* error) {
    stepd_callbacks callbacks = {sizeof(stepd_callbacks), user_data, forward_event};
    return stepd_session_create(config, size, &callbacks, cancellation, out, error);
}
*/
import "C"

import (
	"context"
	"sync"

	"github.com/stepd/stepd/sessions/engine"
)

// session implements engine.Session.
type session struct {
	mailbox *mailbox
	token   *token

	mu      sync.Mutex // guards what follows against Cancel
	handle  *C.stepd_session
	running bool // a call is in progress: without one there is nothing to cancel
}

var _ engine.Session = (*session)(nil)

func (n *native) Open(ctx context.Context, config engine.Config, sink engine.Sink) (engine.Session, error) {
	s := &session{mailbox: newMailbox(sink)}
	s.token = newToken(s.mailbox)
	err := cancellable(ctx, func(c *C.stepd_cancellation) error {
		return call(config, func(in input, _ *C.stepd_buffer, e *C.stepd_error) C.stepd_status {
			return C.create(in.data, in.size, s.token.memory, c, &s.handle, e)
		}, nil)
	})
	s.mailbox.drain()
	if err != nil {
		s.token.release()
		s.mailbox.close()
		return nil, err
	}
	return s, nil
}

// run makes a call that can take long: it is cancelled when ctx ends, and waited for in any case.
func (s *session) run(ctx context.Context, request any, f func(in input, out *C.stepd_buffer, e *C.stepd_error) C.stepd_status, result any) error {
	if s.handle == nil {
		return engine.Errorf(engine.State, "the session is closed")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.begin()
	defer s.end()
	cancelled := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(cancelled)
		s.Cancel()
	})
	defer func() {
		if !stop() { // it has started: left alone, it could cancel the next call
			<-cancelled
		}
	}()
	var err error
	if path, isPath := request.(string); isPath {
		err = callBytes([]byte(path), f, result)
	} else {
		err = call(request, f, result)
	}
	s.mailbox.drain()
	return err
}

// begin forgets cancellations that were meant for earlier calls.
func (s *session) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	C.stepd_session_resume(s.handle)
	s.running = true
}

func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = false
}

func (s *session) EncodeImages(ctx context.Context, items []engine.ImageItem) error {
	return s.run(ctx, items, func(in input, _ *C.stepd_buffer, e *C.stepd_error) C.stepd_status {
		return C.stepd_session_encode_images(s.handle, in.data, in.size, e)
	}, nil)
}

func (s *session) EncodeText(ctx context.Context, items []engine.TextItem) error {
	return s.run(ctx, items, func(in input, _ *C.stepd_buffer, e *C.stepd_error) C.stepd_status {
		return C.stepd_session_encode_text(s.handle, in.data, in.size, e)
	}, nil)
}

func (s *session) SetSamples(samples []engine.Sample, empty engine.TextFile) error {
	request := struct {
		Samples []engine.Sample `json:"samples"`
		Empty   engine.TextFile `json:"empty"`
	}{samples, empty}
	return s.run(context.Background(), request, func(in input, _ *C.stepd_buffer, e *C.stepd_error) C.stepd_status {
		return C.stepd_session_set_samples(s.handle, in.data, in.size, e)
	}, nil)
}

func (s *session) Train(ctx context.Context, steps []engine.Step) (result engine.Result, err error) {
	err = s.run(ctx, steps, func(in input, out *C.stepd_buffer, e *C.stepd_error) C.stepd_status {
		return C.stepd_session_train(s.handle, in.data, in.size, out, e)
	}, &result)
	return result, err
}

func (s *session) Evaluate(ctx context.Context, batches []engine.Evaluation) (losses [][]float64, err error) {
	err = s.run(ctx, batches, func(in input, out *C.stepd_buffer, e *C.stepd_error) C.stepd_status {
		return C.stepd_session_evaluate(s.handle, in.data, in.size, out, e)
	}, &losses)
	return losses, err
}

func (s *session) Sample(ctx context.Context, requests []engine.SampleRequest) error {
	return s.run(ctx, requests, func(in input, _ *C.stepd_buffer, e *C.stepd_error) C.stepd_status {
		return C.stepd_session_sample(s.handle, in.data, in.size, e)
	}, nil)
}

func (s *session) Save(ctx context.Context, dir string) (files []string, err error) {
	err = s.run(ctx, dir, func(in input, out *C.stepd_buffer, e *C.stepd_error) C.stepd_status {
		return C.stepd_session_save(s.handle, in.data, in.size, out, e)
	}, &files)
	return files, err
}

func (s *session) Restore(ctx context.Context, dir string) error {
	return s.run(ctx, dir, func(in input, _ *C.stepd_buffer, e *C.stepd_error) C.stepd_status {
		return C.stepd_session_restore(s.handle, in.data, in.size, e)
	}, nil)
}

func (s *session) Export(ctx context.Context, request engine.Export) error {
	return s.run(ctx, request, func(in input, _ *C.stepd_buffer, e *C.stepd_error) C.stepd_status {
		return C.stepd_session_export(s.handle, in.data, in.size, e)
	}, nil)
}

func (s *session) Step() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handle == nil {
		return 0
	}
	return int64(C.stepd_session_step(s.handle))
}

func (s *session) Cancel() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handle != nil && s.running {
		C.stepd_session_cancel(s.handle)
	}
}

// Close frees the session in the core, then what the core knew of this side.
func (s *session) Close() error {
	s.mu.Lock()
	handle := s.handle
	s.handle = nil
	if handle != nil {
		C.stepd_session_destroy(handle)
	}
	s.mu.Unlock()
	if handle == nil {
		return nil
	}
	s.token.release()
	s.mailbox.close()
	return nil
}
