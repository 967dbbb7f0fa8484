package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/fasthttp/websocket"
	contrib "github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"
	"go.uber.org/zap"

	"github.com/stepd/stepd/sessions/job"
)

const (
	// largestFrame bounds what a WebSocket client may send; nothing it sends is used.
	largestFrame = 4 << 10
	// writeLimit is how long one frame may take; a client that reads slower is disconnected and may come back.
	writeLimit = 30 * time.Second
)

var trainingStreamSpec = Spec{
	Headers: []Field{{Name: "Last-Event-ID", Kind: job.Int, Doc: "id of the last event of a stream of events that broke"}},
	Answers: []Answer{
		{Status: http.StatusOK, Media: mediaEvents, Doc: "the events of the current job from its first one on, " +
			"then those of later jobs, each as {\"job_id\", \"event\"}; with a WebSocket upgrade the same objects are its frames, where a picture that " +
			"would make one longer than a MiB is a smaller JPEG"},
		{Status: http.StatusNotFound, Doc: "neither an upgrade to a WebSocket nor Accept: text/event-stream"},
	},
}

// trainingStream answers as a WebSocket or as SSE. Both replay the current job from its beginning.
func (s *Server) trainingStream(c *fiber.Ctx) error {
	switch {
	case contrib.IsWebSocketUpgrade(c):
		return s.upgrade(c)
	case !wantsEvents(c):
		return failure(http.StatusNotFound, "this is a stream: connect with a WebSocket, or send Accept: text/event-stream")
	}
	ctx, cancel := s.until()
	defer cancel()
	after, err := s.beginningOfJob(ctx)
	if err != nil {
		return err
	}
	head := ""
	if last, said := lastEvent(c); said {
		after, head = continued(last, s.options.Manager.LastSeq())
	}
	next := func(ctx context.Context) (found []entry, err error) {
		found, after, err = s.hub.next(ctx, after)
		return found, err
	}
	return stream(s, c, live[entry]{media: mediaEvents, head: head, next: next, silence: stillHere, write: func(w *bufio.Writer, found []entry) {
		for _, e := range framed(found) {
			writeMessage(w, fmt.Sprintf("id: %d\ndata: ", e.seq), e.frame)
		}
	}})
}

// framed leaves out what does not belong to a job of this server. The list stays as it is: pages of the past are shared by
// their readers.
func framed(found []entry) (kept []entry) {
	for _, e := range found {
		if e.frame.text != nil {
			kept = append(kept, e)
		}
	}
	return kept
}

// writeMessage writes a message of a stream of events; that the client left shows when the stream is flushed.
func writeMessage(w *bufio.Writer, fields string, data encoded) {
	_, _ = w.WriteString(fields)
	_ = data.writeTo(w)
	_, _ = w.WriteString("\n\n")
}

// beginningOfJob is the Seq before the first event of the current job; without a job, the newest.
func (s *Server) beginningOfJob(ctx context.Context) (int64, error) {
	newest := s.options.Manager.LastSeq()
	session := s.currentJob()
	if session == nil {
		return newest, nil
	}
	first, err := session.Events(ctx, 0, 1)
	if err != nil || len(first) == 0 {
		return newest, err
	}
	return first[0].Seq - 1, nil
}

// newUpgrade makes the handler that turns a request into a WebSocket. The Origin has been checked by the guard.
func (s *Server) newUpgrade() fiber.Handler {
	return contrib.New(func(conn *contrib.Conn) { s.followJobs(conn.Conn) }, contrib.Config{WriteBufferSize: 16 << 10, RecoverHandler: func(*contrib.Conn) {
		if r := recover(); r != nil {
			s.options.Logger.Error("websocket panicked", zap.Any("panic", r))
		}
	}})
}

// followJobs writes frames until the client leaves or the server shuts down.
func (s *Server) followJobs(conn *websocket.Conn) {
	leave, err := s.enterStream()
	if err != nil {
		_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseTryAgainLater, "too many streams"), time.Now().Add(time.Second))
		_ = conn.Close()
		return
	}
	defer leave()
	ctx, cancel := s.until()
	defer cancel()
	left := make(chan struct{})
	go func() {
		defer close(left)
		defer cancel()
		conn.SetReadLimit(largestFrame)
		for {
			if _, _, err := conn.NextReader(); err != nil {
				return
			}
		}
	}()
	if err := s.writeFrames(ctx, conn); err != nil && ctx.Err() == nil {
		s.options.Logger.Info("websocket ended", zap.Error(err))
	}
	_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseGoingAway, ""), time.Now().Add(time.Second))
	_ = conn.Close()
	<-left
}

// writeFrame sends an object as one text message.
func writeFrame(conn *websocket.Conn, object encoded) error {
	if err := conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return err
	}
	w, err := conn.NextWriter(websocket.TextMessage)
	if err != nil {
		return err
	}
	return errors.Join(object.within(largestMessage).writeTo(w), w.Close())
}

func (s *Server) writeFrames(ctx context.Context, conn *websocket.Conn) error {
	after, err := s.beginningOfJob(ctx)
	if err != nil {
		return err
	}
	for {
		var found []entry
		tick, done := context.WithTimeout(ctx, heartbeat)
		found, after, err = s.hub.next(tick, after)
		done()
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			if err := conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeLimit)); err != nil {
				return err
			}
		case err != nil:
			return err
		}
		for _, e := range framed(found) {
			if err := writeFrame(conn, e.frame); err != nil {
				return err
			}
		}
	}
}
