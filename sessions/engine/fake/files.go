package fake

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/fnv"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/stepd/stepd/sessions/engine"
)

// EncodeImages implements engine.Session: the latents are a hash of the picture's bytes and its crop.
func (s *session) EncodeImages(ctx context.Context, items []engine.ImageItem) error {
	for i, item := range items {
		if ctx.Err() != nil {
			return engine.Errorf(engine.Cancelled, "encode pictures: %v", ctx.Err())
		}
		data, err := os.ReadFile(item.Path)
		if err != nil {
			return engine.Errorf(engine.NotFound, "read picture: %v", err)
		}
		if _, _, err := image.Decode(bytes.NewReader(data)); err != nil {
			return engine.Errorf(engine.Invalid, "decode picture %s: %v", item.Path, err)
		}
		crop := item
		crop.Path, crop.Out = "", ""
		settings, err := json.Marshal(crop)
		if err != nil {
			return err
		}
		if err := writeTensor(item.Out, "mean", hashed(append(data, settings...))); err != nil {
			return err
		}
		s.sink.OnProgress(engine.ProgressEvent{Stage: "encode_images", Done: int64(i + 1), Total: int64(len(items))})
	}
	return nil
}

// EncodeText implements engine.Session: the embedding is a hash of the token ids.
func (s *session) EncodeText(ctx context.Context, items []engine.TextItem) error {
	for i, item := range items {
		if ctx.Err() != nil {
			return engine.Errorf(engine.Cancelled, "encode captions: %v", ctx.Err())
		}
		ids, err := json.Marshal(item.IDs)
		if err != nil {
			return err
		}
		if err := writeTensor(item.Out, "embedding", hashed(ids)); err != nil {
			return err
		}
		s.sink.OnProgress(engine.ProgressEvent{Stage: "encode_text", Done: int64(i + 1), Total: int64(len(items))})
	}
	return nil
}

// Evaluate implements engine.Session: the losses depend on the weights, the cached files and the noise that is asked for.
func (s *session) Evaluate(ctx context.Context, batches []engine.Evaluation) ([][]float64, error) {
	if s.faults.EvalCode != 0 {
		return nil, engine.Errorf(s.faults.EvalCode, "evaluate: ordered to fail")
	}
	losses := make([][]float64, len(batches))
	for i, batch := range batches {
		if ctx.Err() != nil {
			return nil, engine.Errorf(engine.Cancelled, "evaluate: %v", ctx.Err())
		}
		losses[i] = make([]float64, batch.Timesteps)
		for k, sample := range batch.Samples {
			latents, err := os.ReadFile(sample.Latents)
			if err != nil {
				return nil, engine.Errorf(engine.NotFound, "evaluate: %v", err)
			}
			values, noise := hashed(latents), mix(batch.Seed, uint64(batch.First+k))
			for t := range losses[i] {
				distance := 0.0
				for n, weight := range s.state.Weights {
					distance += math.Abs(weight - values[n])
				}
				losses[i][t] += distance * unit(mix(noise, uint64(t))) / float64(len(batch.Samples))
			}
		}
		s.sink.OnProgress(engine.ProgressEvent{Stage: "evaluate", Done: int64(i + 1), Total: int64(len(batches))})
	}
	return losses, nil
}

// Sample implements engine.Session: each picture has one colour, which depends on the weights and the request.
func (s *session) Sample(ctx context.Context, requests []engine.SampleRequest) error {
	if s.faults.SampleCode != 0 {
		return engine.Errorf(s.faults.SampleCode, "sample: ordered to fail")
	}
	previews := true
	for i, request := range requests {
		if ctx.Err() != nil {
			return engine.Errorf(engine.Cancelled, "sample: %v", ctx.Err())
		}
		if request.Width <= 0 || request.Height <= 0 || request.Width*request.Height > 1<<26 {
			return engine.Errorf(engine.Invalid, "sample of %d×%d pixels", request.Width, request.Height)
		}
		out, preview := request.Out, request.Preview
		request.Out, request.Preview = "", nil
		data, err := json.Marshal(struct {
			State   state
			Request engine.SampleRequest
		}{s.state, request})
		if err != nil {
			return err
		}
		if preview != nil && previews {
			if previews, err = s.preview(i, request, preview, hashed(data)); err != nil {
				return err
			}
		}
		if err := writePNG(out, request.Width, request.Height, hashed(data)); err != nil {
			return err
		}
		s.sink.OnProgress(engine.ProgressEvent{Stage: "sample", Done: int64(i + 1), Total: int64(len(requests))})
	}
	return nil
}

// preview writes the previews of one request: the final colour, darker the earlier the step. It tells whether there may be more.
func (s *session) preview(index int, request engine.SampleRequest, preview *engine.Preview, final []float64) (bool, error) {
	if s.faults.PreviewCode != 0 {
		return false, engine.Errorf(s.faults.PreviewCode, "preview: ordered to fail")
	}
	for step := 1; step <= request.Steps; step++ {
		if !preview.At(step, request.Steps) {
			continue
		}
		done := float64(step) / float64(request.Steps)
		event := engine.PreviewEvent{Request: index, Step: step, Steps: request.Steps, Timestep: 1000 * (1 - done),
			Path: strings.ReplaceAll(preview.Out, engine.PreviewPlaceholder, strconv.Itoa(step))}
		if int64(step) == s.faults.PreviewEnds {
			event.Path, event.Error = "", "preview: ordered to end"
			s.sink.OnPreview(event)
			return false, nil
		}
		if err := writePNG(event.Path, request.Width/8, request.Height/8, []float64{final[0] * done, final[1] * done, final[2] * done}); err != nil {
			return false, err
		}
		s.sink.OnPreview(event)
	}
	return true, nil
}

func writePNG(path string, width, height int, values []float64) error {
	picture := image.NewPaletted(image.Rect(0, 0, width, height), color.Palette{color.RGBA{
		R: uint8(values[0] * 255), G: uint8(values[1] * 255), B: uint8(values[2] * 255), A: 255}})
	file, err := os.Create(path)
	if err != nil {
		return asIO(err)
	}
	return asIO(errors.Join(png.Encode(file, picture), file.Sync(), file.Close()))
}

// Save implements engine.Session.
func (s *session) Save(ctx context.Context, dir string) ([]string, error) {
	if s.poisoned {
		return nil, poisoned()
	}
	if err := writeTensor(filepath.Join(dir, "weights.safetensors"), "weight", s.state.Weights[:]); err != nil {
		return nil, err
	}
	if s.faults.SaveCode != 0 && s.state.Step >= s.faults.SaveFrom {
		return nil, engine.Errorf(s.faults.SaveCode, "save: ordered to fail")
	}
	data, err := json.Marshal(s.state)
	if err != nil {
		return nil, err
	}
	return []string{"weights.safetensors", "state.json"}, writeSynced(filepath.Join(dir, "state.json"), data)
}

// Restore implements engine.Session.
func (s *session) Restore(ctx context.Context, dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err != nil {
		return engine.Errorf(engine.NotFound, "restore: %v", err)
	}
	var restored state
	if err := json.Unmarshal(data, &restored); err != nil {
		return engine.Errorf(engine.Invalid, "restore: %v", err)
	}
	s.state = restored
	s.step.Store(restored.Step)
	return nil
}

// Export implements engine.Session.
func (s *session) Export(ctx context.Context, request engine.Export) error {
	if s.config.Adapter != nil {
		return writeTensor(request.Path, "transformer.proj.lora_A.weight", s.state.Weights[:])
	}
	if err := os.MkdirAll(request.Path, 0o755); err != nil {
		return asIO(err)
	}
	if err := writeSynced(filepath.Join(request.Path, "config.json"), []byte("{}\n")); err != nil {
		return err
	}
	return writeTensor(filepath.Join(request.Path, "diffusion_pytorch_model.safetensors"), "weight", s.state.Weights[:])
}

// hashed turns bytes into weights numbers in [0, 1).
func hashed(data []byte) []float64 {
	hash := fnv.New64a()
	_, _ = hash.Write(data)
	values := make([]float64, weights)
	for i := range values {
		values[i] = unit(mix(hash.Sum64(), uint64(i)))
	}
	return values
}

// writeTensor writes a safetensors file with one vector of float64.
func writeTensor(path, name string, values []float64) error {
	header, err := json.Marshal(map[string]any{name: map[string]any{
		"dtype": "F64", "shape": []int{len(values)}, "data_offsets": []int{0, 8 * len(values)}}})
	if err != nil {
		return err
	}
	data := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	data = append(data, header...)
	for _, value := range values {
		data = binary.LittleEndian.AppendUint64(data, math.Float64bits(value))
	}
	return writeSynced(path, data)
}

func writeSynced(path string, data []byte) error {
	file, err := os.Create(path)
	if err != nil {
		return asIO(err)
	}
	_, err = file.Write(data)
	return asIO(errors.Join(err, file.Sync(), file.Close()))
}
