package notify

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/stepd/stepd/sessions/store"
)

// saveEvery bounds how often progress is written: the store has one writer, and training needs it. A server that dies
// repeats at most the messages of this long.
const saveEvery = time.Second

type rowKey struct {
	session  string
	receiver int
}

// ledger gathers the progress of all lanes and writes it in one transaction.
type ledger struct {
	deliveries *store.Deliveries
	logger     *zap.Logger

	mu      sync.Mutex
	rows    map[rowKey]store.Delivery
	letters []store.DeadLetter
	timer   *time.Timer // of the next save; nil: none is planned
	closed  bool
	saving  sync.Mutex // keeps transactions in order
}

func newLedger(deliveries *store.Deliveries, logger *zap.Logger) *ledger {
	return &ledger{deliveries: deliveries, logger: logger, rows: map[rowKey]store.Delivery{}}
}

// put notes how far a lane has got.
func (l *ledger) put(d store.Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows[rowKey{d.Session, d.Receiver}] = d
	l.scheduleLocked()
}

// bury notes a dead letter; put has to follow.
func (l *ledger) bury(letter store.DeadLetter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.letters = append(l.letters, letter)
}

func (l *ledger) scheduleLocked() {
	if l.timer != nil || l.closed {
		return
	}
	l.timer = time.AfterFunc(saveEvery, func() {
		if err := l.save(context.Background()); err != nil {
			l.logger.Error("webhook: progress cannot be stored; messages may come twice after a restart", zap.Error(err))
		}
	})
}

// save writes what has been noted. What cannot be written is kept for the next time.
func (l *ledger) save(ctx context.Context) error {
	l.saving.Lock()
	defer l.saving.Unlock()
	l.mu.Lock()
	rows, letters := l.rows, l.letters
	l.rows, l.letters = map[rowKey]store.Delivery{}, nil
	l.stopLocked()
	l.mu.Unlock()
	if len(rows) == 0 && len(letters) == 0 {
		return nil
	}
	list := make([]store.Delivery, 0, len(rows))
	for _, row := range rows {
		list = append(list, row)
	}
	err := l.deliveries.Save(ctx, list, letters)
	if err == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.letters = append(letters, l.letters...)
	for key, row := range rows {
		if _, newer := l.rows[key]; !newer {
			l.rows[key] = row
		}
	}
	l.scheduleLocked()
	return err
}

// stopLocked takes the planned save back; one that has begun finds nothing left to write.
func (l *ledger) stopLocked() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

// close writes the rest; no save begins after it.
func (l *ledger) close() error {
	l.mu.Lock()
	l.closed = true
	l.stopLocked()
	l.mu.Unlock()
	return l.save(context.Background())
}
