// Package notify sends the events of sessions to webhooks: as JSON to any program, or as messages to Discord.
//
// Nothing is queued in memory. The durable event table is the queue, and for each receiver of a session a row says how
// far it has got. A message is encoded from its event each time it is tried, so every try sends the same bytes.
// Each event reaches each receiver at least once, in order, or is listed as a dead letter; a receiver that is slow or
// away delays neither training nor other receivers.
//
// Receivers are named by users, so the server goes to public addresses by https only, unless the operator allowed the
// host. The address is checked where the connection is made, so an answer of DNS that changes after the check is no way in.
package notify
