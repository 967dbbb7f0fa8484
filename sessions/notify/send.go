package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/stepd/stepd/sessions/job"
)

// Limits of one request.
const (
	requestTimeout = 10 * time.Second
	replyBytes     = 64 << 10
)

// sender makes the requests.
type sender struct {
	policy *policy
	client *http.Client
	// lax accepts any certificate.
	lax *http.Client
	now func() time.Time
}

func newSender(p *policy, now func() time.Time) *sender {
	return &sender{policy: p, now: now, client: newClient(p, false), lax: newClient(p, true)}
}

func newClient(p *policy, anyCertificate bool) *http.Client {
	transport := &http.Transport{
		Proxy:                  nil, // a proxy of the environment would dial for us, past the policy
		DialContext:            p.dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: anyCertificate},
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    connectTimeout,
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: replyBytes,
		DisableCompression:     true,
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: transport, CheckRedirect: stay, Timeout: requestTimeout}
}

// reply is all that is kept of an answer.
type reply struct {
	status int
	// wait is how long the receiver asks to be left alone; 0: it does not say.
	wait time.Duration
}

// post makes one request. Errors name no URL: its path may be a secret.
func (s *sender) post(ctx context.Context, w job.Webhook, id string, m *message) (reply, error) {
	target, err := s.policy.parse(w.URL)
	if err != nil {
		return reply{}, fmt.Errorf("the URL %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(m.body))
	if err != nil {
		return reply{}, errors.New("the URL cannot be used")
	}
	request.Header.Set("Content-Type", m.contentType)
	request.Header.Set("User-Agent", "stepd")
	if w.AuthToken != "" {
		request.Header.Set("X-API-Key", w.AuthToken)
	}
	if w.Secret != "" {
		key, err := signingKey(w.Secret)
		if err != nil {
			return reply{}, fmt.Errorf("the secret %w", err)
		}
		at := s.now()
		request.Header.Set("webhook-id", id)
		request.Header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
		request.Header.Set("webhook-signature", signature(key, id, at, m.body))
	}
	client := s.client
	if w.SkipVerify && s.policy.allows(target.Hostname(), portOf(target)) {
		client = s.lax
	}
	answer, err := client.Do(request)
	if err != nil {
		return reply{}, withoutURL(err)
	}
	defer answer.Body.Close()
	// What is read lets the connection be used again; the rest of a longer reply is not worth it.
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, replyBytes))
	return reply{status: answer.StatusCode, wait: retryAfter(answer.Header.Get("Retry-After"), s.now())}, nil
}

// withoutURL takes the address of the receiver out of an error of the HTTP client.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		if wrapped.Timeout() {
			return errors.New("no answer in time")
		}
		err = wrapped.Err
	}
	var network *net.OpError
	if errors.As(err, &network) {
		if strings.Contains(network.Err.Error(), "prohibited") {
			return errNotPublic
		}
		return fmt.Errorf("%s: %w", network.Op, network.Err)
	}
	return err
}

// longestWait bounds what a receiver may ask for.
const longestWait = 24 * time.Hour

// retryAfter reads seconds, also with a fraction as Discord writes them, or a date.
func retryAfter(header string, now time.Time) time.Duration {
	var wait time.Duration
	if seconds, err := strconv.ParseFloat(header, 64); err == nil && !math.IsNaN(seconds) {
		wait = time.Duration(min(max(seconds, 0), longestWait.Seconds()) * float64(time.Second))
	} else if at, err := http.ParseTime(header); err == nil {
		wait = at.Sub(now)
	} else {
		return 0
	}
	return min(max(wait, time.Second), longestWait)
}
