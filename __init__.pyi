from .backends import (
    Backend as Backend,
)
from .backends import (
    asarray as asarray,
)
from .backends import (
    backend as backend,
)
from .backends import (
    backends as backends,
)
from .backends import (
    use_backend as use_backend,
)
from .backends.threads import (
    num_threads as num_threads,
)
from .backends.threads import (
    set_num_threads as set_num_threads,
)
from .errors import (
    BackendUnavailable as BackendUnavailable,
)
from .errors import (
    DataFileError as DataFileError,
)
from .errors import (
    DeviceError as DeviceError,
)
from .errors import (
    DtypeError as DtypeError,
)
from .errors import (
    EmptyDataError as EmptyDataError,
)
from .errors import (
    FusedstepError as FusedstepError,
)
from .errors import (
    HyperparameterError as HyperparameterError,
)
from .errors import (
    LabelError as LabelError,
)
from .errors import (
    MissingDependency as MissingDependency,
)
from .errors import (
    MixedBackends as MixedBackends,
)
from .errors import (
    ModelFileError as ModelFileError,
)
from .errors import (
    NonFiniteDataError as NonFiniteDataError,
)
from .errors import (
    NonFiniteLossError as NonFiniteLossError,
)
from .errors import (
    NotDifferentiable as NotDifferentiable,
)
from .errors import (
    OutOfDeviceMemory as OutOfDeviceMemory,
)
from .errors import (
    OutputPathError as OutputPathError,
)
from .errors import (
    ShapeError as ShapeError,
)
from .errors import (
    StateError as StateError,
)
from .errors import (
    TooLarge as TooLarge,
)
from .errors import (
    UnknownBackend as UnknownBackend,
)
from .errors import (
    UnknownColumn as UnknownColumn,
)
from .framework.augmentation import (
    Augmentation as Augmentation,
)
from .framework.augmentation import (
    FeatureMasking as FeatureMasking,
)
from .framework.augmentation import (
    InputNoise as InputNoise,
)
from .framework.augmentation import (
    Mixup as Mixup,
)
from .framework.bagging import (
    Bagging as Bagging,
)
from .framework.callbacks import (
    Callback as Callback,
)
from .framework.callbacks import (
    ProgressBar as ProgressBar,
)
from .framework.checks import (
    GradientReport as GradientReport,
)
from .framework.checks import (
    gradient_check as gradient_check,
)
from .framework.data import (
    ArrayRows as ArrayRows,
)
from .framework.data import (
    ParquetRows as ParquetRows,
)
from .framework.data import (
    RowSource as RowSource,
)
from .framework.data import (
    memory_map as memory_map,
)
from .framework.history import (
    History as History,
)
from .framework.initializers import (
    Constant as Constant,
)
from .framework.initializers import (
    GlorotNormal as GlorotNormal,
)
from .framework.initializers import (
    GlorotUniform as GlorotUniform,
)
from .framework.initializers import (
    HeNormal as HeNormal,
)
from .framework.initializers import (
    HeUniform as HeUniform,
)
from .framework.initializers import (
    Initializer as Initializer,
)
from .framework.initializers import (
    LeCunNormal as LeCunNormal,
)
from .framework.initializers import (
    Normal as Normal,
)
from .framework.initializers import (
    Zeros as Zeros,
)
from .framework.jacobians import (
    local_jacobians as local_jacobians,
)
from .framework.layers import (
    ELU as ELU,
)
from .framework.layers import (
    GELU as GELU,
)
from .framework.layers import (
    Conv2d as Conv2d,
)
from .framework.layers import (
    Dropout as Dropout,
)
from .framework.layers import (
    Flatten as Flatten,
)
from .framework.layers import (
    GaussianNoise as GaussianNoise,
)
from .framework.layers import (
    Identity as Identity,
)
from .framework.layers import (
    Layer as Layer,
)
from .framework.layers import (
    LayerNorm as LayerNorm,
)
from .framework.layers import (
    LeakyReLU as LeakyReLU,
)
from .framework.layers import (
    Linear as Linear,
)
from .framework.layers import (
    Maxout as Maxout,
)
from .framework.layers import (
    MaxPool2d as MaxPool2d,
)
from .framework.layers import (
    PReLU as PReLU,
)
from .framework.layers import (
    ReLU as ReLU,
)
from .framework.layers import (
    Residual as Residual,
)
from .framework.layers import (
    Sigmoid as Sigmoid,
)
from .framework.layers import (
    SiLU as SiLU,
)
from .framework.layers import (
    Softmax as Softmax,
)
from .framework.layers import (
    Tanh as Tanh,
)
from .framework.layers import (
    TiedLinear as TiedLinear,
)
from .framework.losses import (
    MSE as MSE,
)
from .framework.losses import (
    Bhattacharyya as Bhattacharyya,
)
from .framework.losses import (
    BinaryCrossEntropy as BinaryCrossEntropy,
)
from .framework.losses import (
    Hinge as Hinge,
)
from .framework.losses import (
    KLDivergence as KLDivergence,
)
from .framework.losses import (
    Loss as Loss,
)
from .framework.losses import (
    MultiClassHinge as MultiClassHinge,
)
from .framework.losses import (
    SoftmaxCrossEntropy as SoftmaxCrossEntropy,
)
from .framework.losses import (
    SymmetricKL as SymmetricKL,
)
from .framework.model import (
    Sequential as Sequential,
)
from .framework.model import (
    mlp as mlp,
)
from .framework.optimizers import (
    LAMB as LAMB,
)
from .framework.optimizers import (
    SGD as SGD,
)
from .framework.optimizers import (
    AdaDelta as AdaDelta,
)
from .framework.optimizers import (
    AdaGrad as AdaGrad,
)
from .framework.optimizers import (
    Adam as Adam,
)
from .framework.optimizers import (
    Adamax as Adamax,
)
from .framework.optimizers import (
    AdamW as AdamW,
)
from .framework.optimizers import (
    Lion as Lion,
)
from .framework.optimizers import (
    Momentum as Momentum,
)
from .framework.optimizers import (
    NAdam as NAdam,
)
from .framework.optimizers import (
    Nesterov as Nesterov,
)
from .framework.optimizers import (
    Optimizer as Optimizer,
)
from .framework.optimizers import (
    ParameterGroup as ParameterGroup,
)
from .framework.optimizers import (
    RMSProp as RMSProp,
)
from .framework.optimizers import (
    SignDescent as SignDescent,
)
from .framework.persistence import (
    load as load,
)
from .framework.persistence import (
    save as save,
)
from .framework.plots.curves import (
    plot_runs as plot_runs,
)
from .framework.plots.regions import (
    plot_decision_regions as plot_decision_regions,
)
from .framework.plots.surface import (
    plot_surfaces as plot_surfaces,
)
from .framework.pruning import (
    Pruning as Pruning,
)
from .framework.pruning import (
    prune as prune,
)
from .framework.pruning import (
    sparsity as sparsity,
)
from .framework.rate_search import (
    RateSearch as RateSearch,
)
from .framework.rate_search import (
    find_learning_rate as find_learning_rate,
)
from .framework.rate_search import (
    sweep_learning_rate as sweep_learning_rate,
)
from .framework.schedules import (
    CosineDecay as CosineDecay,
)
from .framework.schedules import (
    ExponentialDecay as ExponentialDecay,
)
from .framework.schedules import (
    HalveOnWorse as HalveOnWorse,
)
from .framework.schedules import (
    InverseTimeDecay as InverseTimeDecay,
)
from .framework.schedules import (
    LinearWarmup as LinearWarmup,
)
from .framework.schedules import (
    MomentumRamp as MomentumRamp,
)
from .framework.schedules import (
    OneCycle as OneCycle,
)
from .framework.schedules import (
    RateSchedule as RateSchedule,
)
from .framework.schedules import (
    ReduceOnPlateau as ReduceOnPlateau,
)
from .framework.schedules import (
    Schedule as Schedule,
)
from .framework.schedules import (
    StepDecay as StepDecay,
)
from .framework.search import (
    Candidate as Candidate,
)
from .framework.search import (
    SearchResult as SearchResult,
)
from .framework.search import (
    SearchSpace as SearchSpace,
)
from .framework.search import (
    SearchTrial as SearchTrial,
)
from .framework.search import (
    search as search,
)
from .framework.second_order import (
    BFGS as BFGS,
)
from .framework.second_order import (
    LBFGS as LBFGS,
)
from .framework.second_order import (
    Backtracking as Backtracking,
)
from .framework.second_order import (
    BestOf as BestOf,
)
from .framework.second_order import (
    ConjugateGradient as ConjugateGradient,
)
from .framework.second_order import (
    FixedStep as FixedStep,
)
from .framework.second_order import (
    HessianFree as HessianFree,
)
from .framework.second_order import (
    LineSearch as LineSearch,
)
from .framework.second_order import (
    Minimization as Minimization,
)
from .framework.second_order import (
    Newton as Newton,
)
from .framework.second_order import (
    Objective as Objective,
)
from .framework.second_order import (
    SteepestDescent as SteepestDescent,
)
from .framework.second_order import (
    StrongWolfe as StrongWolfe,
)
from .framework.second_order import (
    minimize as minimize,
)
from .framework.seeing.layer_statistics import (
    LayerStatistics as LayerStatistics,
)
from .framework.seeing.loss_surface import (
    LossSurface as LossSurface,
)
from .framework.seeing.loss_surface import (
    loss_surface as loss_surface,
)
from .framework.seeing.parameter_path import (
    ParameterPath as ParameterPath,
)
from .framework.seeing.tensorboard import (
    TensorBoard as TensorBoard,
)
from .framework.seeing.units import (
    UnitReport as UnitReport,
)
from .framework.seeing.units import (
    unit_report as unit_report,
)
from .framework.step import (
    TrainStep as TrainStep,
)
from .framework.step_loss import (
    StepLoss as StepLoss,
)
from .framework.stopping import (
    EarlyStopping as EarlyStopping,
)
from .framework.stopping import (
    StopOnInterrupt as StopOnInterrupt,
)
from .framework.stopping import (
    StopOnStall as StopOnStall,
)
from .framework.stopping import (
    StopOnTarget as StopOnTarget,
)
from .framework.trainer import (
    Trainer as Trainer,
)

__version__: str
