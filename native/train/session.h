// One loaded model with its trainable parameters and optimizer state: what Go package sessions/engine calls a Session.
// Methods are called by one thread at a time, except step(), cancel() and resume().
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/cancellation.h"
#include "train/checkpoint.h"
#include "train/component.h"
#include "train/evaluation.h"
#include "train/export.h"
#include "train/memory.h"
#include "train/model.h"
#include "train/objective.h"
#include "train/pictures.h"
#include "train/preview.h"
#include "train/trainer.h"

namespace stepd {

struct StepEvent {
    int64_t step = 0;  // 1 for the first
    double loss = 0, lr = 0, grad_norm = 0, seconds = 0;
};

struct ProgressEvent {
    std::string stage;
    int64_t done = 0, total = 0;
};

// Called from the thread that called the session.
struct EventSink {
    std::function<void(const StepEvent&)> on_step{};
    std::function<void(const ProgressEvent&)> on_progress{};
    std::function<void(const PreviewEvent&)> on_preview{};
};

struct ImageItem {
    std::string path;
    int64_t resize_width = 0, resize_height = 0, crop_x = 0, crop_y = 0, width = 0, height = 0;
    bool flip_x = false, flip_y = false;
    std::string out;
};

struct TextItem {
    std::vector<int32_t> ids;
    std::string out;
};

struct MicroBatch {
    int64_t index = 0;  // over the whole run; seeds the random numbers
    std::vector<int64_t> samples;
};

struct TrainStep {
    std::vector<MicroBatch> batches;
};

struct TrainResult {
    int64_t steps = 0;  // applied by this call
    bool cancelled = false;
};

class Session {
public:
    // Loads the model. threads: 0 = one per core. opening: null, or what may stop the loading (Code::cancelled).
    Session(const SessionConfig& config, EventSink sink, int threads = 0, const Cancellation* opening = nullptr);

    void encode_images(const std::vector<ImageItem>& items);
    void encode_text(const std::vector<TextItem>& items);
    void set_samples(std::vector<SampleFiles> samples, const std::string& empty);
    TrainResult train(const std::vector<TrainStep>& steps);
    // Losses by batch and noise level; the trained state stays as it is.
    std::vector<std::vector<double>> evaluate(const std::vector<EvaluationBatch>& batches);
    void sample(const std::vector<SampleRequest>& requests);
    std::vector<std::string> save(const std::string& dir);
    void restore(const std::string& dir);
    void export_weights(const ExportRequest& request);

    int64_t step() const { return step_; }
    // Stops the call in progress at its next safe point, and every later one, until resume().
    void cancel() { cancellation_.cancel(); }
    void resume() { cancellation_.resume(); }

private:
    bool train_step(const TrainStep& step);
    double run_micro_batch(const MicroBatch& batch, const TrainStep& step, bool first);
    void require_training(const char* what) const;
    void progress(const char* stage, size_t done, size_t total) const;
    Embeddings embed(const std::vector<SampleRequest>& requests);

    SessionConfig config_;
    EventSink sink_;
    Model model_;
    std::unique_ptr<Backend> backend_;
    ParameterLayout layout_;
    const OptimizerMethod& method_;
    Objective objective_;
    TrainingData data_;
    std::unique_ptr<Trainer> trainer_;
    Embeddings embeddings_;  // of prompts: the same ones are sampled again and again
    PreviewCache preview_cache_;
    std::atomic<int64_t> step_{0};
    Cancellation cancellation_;
};

}  // namespace stepd
