// The loss of pictures that are not trained on, at fixed noise levels and with fixed noise, so that the figures of
// successive evaluations differ by what the model has learnt alone. Changes nothing that training reads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "train/data.h"
#include "train/model.h"
#include "train/objective.h"
#include "train/trainer.h"

namespace stepd {

// Pictures of one size, evaluated together; engine.Evaluation.
struct EvaluationBatch {
    std::vector<SampleFiles> samples;
    int64_t first = 0;  // number of the first picture in its data set: with the seed, it decides the noise
    uint64_t seed = 0;
    int64_t timesteps = 0;  // noise levels, spread evenly over the schedule
};

struct EvaluationHooks {
    std::function<bool()> go_on;          // asked before each operation; false: give up (Code::cancelled)
    std::function<void()> on_timestep{};  // after each loss; may be empty
};

class Evaluator {
public:
    // Weights are read from the trainer's store, activations live in its arena. Everything referenced must outlive the
    // evaluator, and the trainer must not be used meanwhile.
    Evaluator(const Model& model, const Objective& objective, int64_t text_tokens, Trainer& trainer, Backend& backend);
    ~Evaluator();

    // The losses of the training objective, mean over the pictures, for each noise level, the noisiest first. Latents
    // are the encoder's means; captions are kept, and there is no adapter dropout and no noise offset. Throws
    // Code::out_of_memory when the activations do not fit, Code::numeric when a loss is not finite.
    std::vector<double> losses(const EvaluationBatch& batch, const EvaluationHooks& hooks);

private:
    struct Prepared;
    Prepared& prepare(const Bucket& bucket);
    double loss(const EvaluationBatch& batch, double level, Prepared& prepared, const EvaluationHooks& hooks);

    const Model& model_;
    const Objective& objective_;
    TrainingData data_;
    Trainer& trainer_;
    Backend& backend_;
    std::unique_ptr<Prepared> prepared_;  // of the latest bucket
};

}  // namespace stepd
