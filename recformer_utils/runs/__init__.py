"""What a training run is made of and leaves behind; training.py passes it on to the notebooks."""

from recformer_utils.runs.checkpoints import (
    CheckpointError,
    load_checkpoint,
    load_weights,
    save_atomically,
)
from recformer_utils.runs.config import (
    ConfigError,
    RunConfig,
    TrainerConfig,
    load_config,
    parse_config,
)
from recformer_utils.runs.files import own_folder
from recformer_utils.runs.folder import RunFolder, TrainingResult
from recformer_utils.runs.precision import choose_device, fast_matrix_products, use_bfloat16
