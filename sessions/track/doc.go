// Package track writes the numbers and pictures of a run in the forms of other programs: JSON lines, TensorBoard event
// files, and offline runs of Weights & Biases.
//
// The worker writes them, not the server: a resume starts from a checkpoint, and only the worker knows from which one, so
// that the files can drop what came after it and go on without double steps and without an index of their own. Steps put
// records into a bounded queue and never wait; one goroutine writes. A form that fails is dropped with one warning.
package track
