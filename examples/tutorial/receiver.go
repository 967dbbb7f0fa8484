package main

import (
	"encoding/json"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// receiver stands for the https://example.com of the tutorial's webhook.
type receiver struct {
	address string
	server  *http.Server
	count   atomic.Int64 // of messages with a type
}

func listen() (*receiver, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{address: listener.Addr().String()}
	r.server = &http.Server{ReadTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		var event struct {
			Type string `json:"type"`
		}
		if json.NewDecoder(request.Body).Decode(&event) == nil && event.Type != "" && request.URL.Path == "/simpletuner" {
			r.count.Add(1)
		}
	})}
	go func() { _ = r.server.Serve(listener) }() // until close
	return r, nil
}

func (r *receiver) close() { _ = r.server.Close() }
