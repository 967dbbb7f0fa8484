package notify

import (
	"net/http"
	"time"
)

// schedule holds the waits after the first, second, … failed try, as the Standard Webhooks recommend them: three days in
// all. A receiver that is away for longer is given up.
var schedule = []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour,
	14 * time.Hour, 20 * time.Hour, 24 * time.Hour}

// jitter is the largest part that is added to a wait, so that receivers that come back are not hit by all runs at once.
const jitter = 0.2

// patience bounds the time from the first failed try to the last, whatever receivers ask for by Retry-After.
func patience() time.Duration {
	var total time.Duration
	for _, wait := range schedule {
		total += wait
	}
	return time.Duration(float64(total) * (1 + jitter))
}

// verdict on one answer.
type verdict int

const (
	delivered verdict = iota
	tryAgain
	refused // this message, for good
	gone    // the receiver, for good
)

// judge follows the Standard Webhooks: 2xx is success, 410 asks to stop. Messages that a receiver cannot read would only
// block those behind them, so they are not tried again; redirects are not followed and count as failures.
func judge(status int) verdict {
	switch {
	case status >= 200 && status < 300:
		return delivered
	case status == http.StatusGone:
		return gone
	case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge, status == http.StatusUnsupportedMediaType,
		status == http.StatusUnprocessableEntity:
		return refused
	}
	return tryAgain
}

// Clock is time for the schedule; tests have their own.
type Clock interface {
	Now() time.Time
	// After is time.After.
	After(time.Duration) <-chan time.Time
}

type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }
