// Package dataset turns folders of pictures into the samples of a training
// run and orders them into micro-batches.
//
// Build scans folders, reads captions, hashes files and decides for every
// picture its bucket, size and crop; the result is a Manifest that can be
// stored as JSON. NewPlan orders the manifest's samples: which samples make up
// micro-batch k follows from the seed and k alone, so a run can continue
// anywhere without saved state. Both follow docs/determinism.md (rules 1 and
// 5), whose random numbers are those of PyTorch's CPU generator.
//
// Source folders are only read. Values of this package may be used by several
// goroutines as long as none changes them; a Cursor belongs to one goroutine.
package dataset
