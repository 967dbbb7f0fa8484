package sessions

import "fmt"

// State of a session.
type State string

// The states. Completed, Aborted and Failed are terminal.
const (
	Initializing State = "initializing" // waiting for memory, loading, filling caches
	Paused       State = "paused"       // budget used up; everything trained so far is in a checkpoint
	Running      State = "running"      // training
	Aborting     State = "aborting"     // asked to stop; finishing the step and its checkpoint
	Aborted      State = "aborted"
	Completed    State = "completed"
	Failed       State = "error"
	Interrupted  State = "interrupted" // the process that trained is gone; a grant continues from the last checkpoint
)

// transitions lists every change of state that can happen, with its occasion.
var transitions = map[State]map[State]string{
	Initializing: {
		Paused:      "ready, and nothing granted yet",
		Running:     "ready, and steps are granted",
		Completed:   "ready, and already at the last step",
		Aborting:    "abort",
		Failed:      "the run returned an error",
		Interrupted: "the worker or the server ended",
	},
	Paused: {
		Running:      "steps granted",
		Completed:    "budget raised to nothing more to do",
		Initializing: "the server restarted",
		Aborting:     "abort",
		Failed:       "the run returned an error",
		Interrupted:  "the worker or the server ended",
	},
	Running: {
		Paused:       "budget used up and checkpoint durable",
		Completed:    "last step and final files durable",
		Initializing: "the server restarted",
		Aborting:     "abort",
		Failed:       "the run returned an error",
		Interrupted:  "the worker or the server ended",
	},
	Interrupted: {
		Initializing: "steps granted, or the turn of its queue is the session's: a new worker resumes from the last checkpoint",
		Failed:       "its workers died without progress",
		Aborting:     "abort",
	},
	Aborting: {
		Aborted: "the worker has ended",
	},
	Completed: {},
	Aborted:   {},
	Failed:    {},
}

// Terminal tells whether no further change of state can happen. A session that is being created has no state yet.
func (s State) Terminal() bool { return s != "" && len(transitions[s]) == 0 }

// Active tells whether a worker is, or is about to be, at work for the session.
func (s State) Active() bool {
	return s == Initializing || s == Paused || s == Running || s == Aborting
}

// checkTransition refuses a change of state that is not in the table.
func checkTransition(from, to State) error {
	if _, ok := transitions[from][to]; !ok {
		return fmt.Errorf("session cannot go from %s to %s", from, to)
	}
	return nil
}
