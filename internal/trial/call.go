// Package trial is what programs share that try a real stepd: the demo, the tutorial, the attacks and the measurements.
package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
)

// FreeAddress is a loopback address that nobody uses now.
func FreeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// Call sends a request and returns the body of the answer. Anything but success is an error that holds it.
func Call(ctx context.Context, method, url string, header http.Header, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, request.URL.Path, response.Status, data)
	}
	return data, err
}

// JSON calls with a body, unless that is nil, and decodes the answer into reply, unless that is nil.
func JSON(ctx context.Context, method, url string, header http.Header, body, reply any) error {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return err
		}
	}
	data, err := Call(ctx, method, url, withType(header, "application/json"), data)
	if err != nil || reply == nil {
		return err
	}
	if err := json.Unmarshal(data, reply); err != nil {
		return fmt.Errorf("%s %s: %w: %s", method, url, err, data)
	}
	return nil
}

// withType is a copy of a header, which may be nil, for a body of a media type.
func withType(header http.Header, media string) http.Header {
	header = header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("Content-Type", media)
	return header
}
