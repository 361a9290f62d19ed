"""What names of PyTorch, Keras, scikit-learn and their kind are called here: one table, in four parts.

Each row is advice – code that runs, with a remark after `#` if one is needed – and the names for which it is given. In
it, `model`, `step`, `trainer` and `history` are objects of this package, `clf` is an fs.MLPClassifier that was fitted, `x`
and `y` are arrays. suggestions.py raises the errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches


def _by_name(rows: Mapping[str, str]) -> dict[str, str]:
    """Name -> advice."""
    return {name: advice for advice, names in rows.items() for name in names.split()}


NAMES = _by_name({
    # Models and layers
    "fs.mlp([20, 64, 2])": "MLP Mlp Net Network NeuralNetwork Model Input InputLayer FeedForward DenseNet Perceptron",
    "fs.Sequential(fs.Linear(20, 2))": "ModuleList nn layers functional Module_list",
    "fs.Layer": "Module LayerBase",
    "fs.Linear(20, 2)": "Dense Affine FullyConnected LazyLinear NNLinear",
    "fs.LayerNorm(20)": "LayerNormalization RMSNorm GroupNorm InstanceNorm1d InstanceNorm2d LocalResponseNorm",
    "fs.LayerNorm(20)  # there is no batch normalisation": (
        "BatchNorm BatchNorm1d BatchNorm2d BatchNormalization LazyBatchNorm1d SyncBatchNorm BatchNorm3d"
    ),
    "fs.Dropout(0.5)": "Dropout1d Dropout2d Dropout3d AlphaDropout SpatialDropout1D FeatureAlphaDropout",
    "fs.GaussianNoise(0.1)": "Noise GaussianDropout",
    "fs.Conv2d(1, 8, 3)": "Conv2D LazyConv2d Convolution2D",
    "fs.MaxPool2d(2)": "MaxPooling2D MaxPool2D",
    "fs.Embedding(10, 4)": "EmbeddingBag",
    "fs.Residual(fs.Linear(20, 20))": "ResidualBlock SkipConnection Add",
    "fs.ELU()": "SELU CELU",
    "fs.ReLU()": "ReLU6 relu",
    "fs.SiLU()": "Swish Hardswish silu swish",
    "fs.GELU()": "gelu QuickGELU",
    "fs.LeakyReLU()": "leaky_relu RReLU",
    "fs.Sigmoid()": "sigmoid LogSigmoid Hardsigmoid",
    "fs.Tanh()": "tanh Hardtanh",
    "fs.Softmax()": "softmax Softmax2d",
    'fs.mlp([20, 64, 2], activation="relu")': "Activation activations",
    "fs.Layer  # there is no such layer; derive a class from this one": (
        "Conv1d Conv3d Conv1D Conv3D ConvTranspose2d Conv2DTranspose DepthwiseConv2D AvgPool1d AvgPool2d AveragePooling2D "
        "MaxPool1d AdaptiveAvgPool2d GlobalAveragePooling2D RNN LSTM GRU SimpleRNN Transformer TransformerEncoder "
        "MultiheadAttention MultiHeadAttention Attention Bilinear GLU Softplus Softsign Concatenate Reshape Lambda Rescaling "
        "Upsample ModuleDict"
    ),
    # Losses
    "fs.SoftmaxCrossEntropy()": (
        "CrossEntropyLoss CrossEntropy NLLLoss CategoricalCrossentropy SparseCategoricalCrossentropy LogSoftmax LogLoss "
        "cross_entropy crossentropy categorical_crossentropy sparse_categorical_crossentropy nll_loss log_loss losses"
    ),
    "fs.BinaryCrossEntropy()": (
        "BCELoss BCEWithLogitsLoss BinaryCrossentropy BCE MultiLabelSoftMarginLoss SoftMarginLoss binary_crossentropy "
        "binary_cross_entropy binary_cross_entropy_with_logits"
    ),
    "fs.MSE()": "MSELoss MeanSquaredError L2Loss SquaredError mse mse_loss mean_squared_error",
    "fs.MAE()": "L1Loss MeanAbsoluteError AbsoluteError mae l1_loss mean_absolute_error",
    "fs.Huber()": "HuberLoss SmoothL1Loss LogCosh huber huber_loss smooth_l1_loss",
    "fs.Poisson()": "PoissonNLLLoss PoissonLoss poisson_nll_loss",
    "fs.Quantile(0.5)": "QuantileLoss PinballLoss pinball_loss MeanPinballLoss",
    "fs.KLDivergence()": "KLDivLoss KLDiv kl_div",
    "fs.Hinge()": "HingeLoss HingeEmbeddingLoss SquaredHinge hinge hinge_loss",
    "fs.MultiClassHinge()": "MultiMarginLoss CategoricalHinge CrammerSinger",
    "fs.Focal()": "FocalLoss CategoricalFocalCrossentropy SigmoidFocalLoss",
    "fs.BinaryFocal()": "BinaryFocalCrossentropy BinaryFocalLoss",
    "fs.Loss  # there is no such loss; derive a class from this one": (
        "CTCLoss GaussianNLLLoss CosineEmbeddingLoss CosineSimilarity TripletMarginLoss MarginRankingLoss MultiLabelMarginLoss "
        "Tversky Dice DiceLoss MeanAbsolutePercentageError MeanSquaredLogarithmicError"
    ),
    # Optimisers and averages
    "fs.Adam(1e-3)": "SparseAdam FusedAdam adam optim optimizers optimisers AMSGrad",
    "fs.AdamW(1e-3)": "adamw AdamWeightDecay",
    "fs.NAdam(1e-3)": "Nadam",
    "fs.RMSProp(1e-3)": "RMSprop rmsprop",
    "fs.AdaGrad(1e-2)": "Adagrad adagrad",
    "fs.AdaDelta()": "Adadelta adadelta",
    "fs.LAMB(1e-3)": "Lamb",
    "fs.SignDescent(1e-3)": "Rprop SignSGD signSGD",
    "fs.SGD(1e-2)": "sgd GradientDescent SGDOptimizer",
    "fs.Momentum(1e-2, momentum=0.9)": "MomentumSGD SGDMomentum momentum",
    "fs.Nesterov(1e-2, momentum=0.9)": "NAG NesterovMomentum NesterovSGD",
    "fs.Optimizer  # there is no such optimiser; derive a class from this one": "Adafactor Ftrl Shampoo Adan Prodigy Sophia",
    "fs.EMA(0.999)": "AveragedModel ExponentialMovingAverage ModelEMA ASGD SWA",
    "fs.ParameterGroup(\"*.bias\", lr_scale=2.0)": "ParamGroup param_groups",
    # Schedules and callbacks
    "fs.StepDecay(factor=0.5, every=5)": "StepLR MultiStepLR PiecewiseConstantDecay lr_scheduler schedules",
    "fs.ExponentialDecay(0.001)": "ExponentialLR",
    "fs.InverseTimeDecay(0.001)": "InverseSqrtLR",
    "fs.CosineDecay()": "CosineAnnealingLR CosineAnnealing CosineAnnealingWarmRestarts CosineDecayRestarts CosineLR",
    "fs.ReduceOnPlateau()": "ReduceLROnPlateau ReduceLROnPlateauCallback",
    "fs.OneCycle()": "OneCycleLR CyclicLR OneCycleSchedule",
    "fs.LinearWarmup(steps=100)": "LinearLR WarmUp Warmup LinearWarmUp",
    "fs.Trainer(step, schedule=lambda epoch, step: 0.1 / (1 + epoch))": (
        "LambdaLR LearningRateScheduler LRScheduler PolynomialLR PolynomialDecay ConstantLR MultiplicativeLR SequentialLR "
        "ChainedScheduler"
    ),
    'fs.Checkpoint("run", best="val_loss")': "ModelCheckpoint BackupAndRestore CheckpointCallback Checkpointer",
    "fs.Callback": "LambdaCallback CallbackList callbacks",
    "fs.ProgressBar()": "ProgbarLogger TQDMProgressBar RichProgressBar tqdm",
    'fs.TensorBoard("runs/first")': "SummaryWriter TensorBoardLogger",
    'fs.MLflow("experiment")': "MLFlow MLFlowLogger MlflowCallback mlflow",
    'fs.WandB("project")': "Wandb WandbLogger WandbCallback WandbMetricsLogger wandb WeightsAndBiases",
    'fs.TrainStep(model, loss, optimizer, on_nonfinite="raise")': "TerminateOnNaN NaNTerminate",
    "fs.Trainer(model, loss, optimizer)": "Learner Estimator Fitter NeuralNetClassifier NeuralNetRegressor LightningModule",
    "fs.TrainStep(model, loss, optimizer)": "Step TrainingStep train_step make_step GradientTape GradScaler autocast",
    # Data, evaluation, search
    "trainer.fit(x, y, batch_size=128)": "DataLoader Dataset TensorDataset fit train DataModule random_split",
    "trainer.fit(x[:80], y[:80], validation=(x[80:], y[80:]))": "train_test_split validation_split ShuffleSplit",
    "fs.TableEncoder()": (
        "StandardScaler RobustScaler MinMaxScaler OneHotEncoder OrdinalEncoder LabelEncoder ColumnTransformer SimpleImputer "
        "Normalization StringLookup"
    ),
    "fs.Bagging(lambda: fs.mlp([20, 8, 2]), loss)": "BaggingClassifier BaggingRegressor Ensemble VotingClassifier",
    "fs.search(x[:80], y[:80], validation=(x[80:], y[80:]), trials=2, epochs=1)": (
        "GridSearchCV RandomizedSearchCV HalvingGridSearchCV Tuner tune hyperparameter_search"
    ),
    "step.evaluate(x, y)": "evaluate accuracy_score accuracy score r2_score",
    "model.predict(x)": "predict no_grad inference_mode",
    "fs.find_learning_rate(step, x, y)": "lr_find LRFinder LearningRateFinder find_lr",
    'fs.load("model.safetensors")': "load_model from_pretrained",
    'fs.save(model, "model.safetensors")': "save_model dump save_weights",
    "fs.gradient_check(model, loss, x, y)": "gradcheck check_gradients check_grads",
    # Machine
    'with fs.use_backend("numpy"): ...': "set_backend device set_default_device Device cuda cpu",
    "fs.backends()": "list_backends list_devices is_available list_physical_devices cuda_is_available",
    "fs.asarray(x)": "tensor Tensor array from_numpy as_tensor convert_to_tensor Variable",
    "fs.TrainStep(model, loss, optimizer, seed=0)": "manual_seed set_seed set_random_seed seed random_state seed_everything",
    'fs.TrainStep(fs.mlp([20, 64, 2]), loss, optimizer, precision="float64")': "float64 set_default_dtype set_floatx float32",
    "fs.set_num_threads(1)": "n_jobs set_threads",
    "fs.HeNormal()": "KaimingNormal he_normal kaiming_normal_ init initializers",
    "fs.HeUniform()": "KaimingUniform he_uniform kaiming_uniform_",
    "fs.GlorotNormal()": "XavierNormal glorot_normal xavier_normal_",
    "fs.GlorotUniform()": "XavierUniform glorot_uniform xavier_uniform_",
    "fs.Normal(0.1)": "RandomNormal TruncatedNormal normal_",
})
"""What is looked up in the package: fs.NAME."""

ATTRIBUTES = {
    "Sequential": _by_name({
        "fs.Trainer(model, loss, optimizer).fit(x, y)": "fit train partial_fit fit_transform train_model",
        "fs.TrainStep(model, loss, optimizer)": (
            "compile zero_grad train_step train_on_batch optimizer loss configure_optimizers training_step"
        ),
        "step.evaluate(x, y)": "score evaluate test accuracy test_on_batch",
        "model.predict(x)  # evaluation mode is the default": "eval predict_on_batch predict_classes inference transform",
        "model(x)": "call logits decision_function apply",
        "model.parameters()": (
            "state_dict named_parameters get_weights weights trainable_variables trainable_weights variables coefs_ "
            "intercepts_ coef_ params"
        ),
        'fs.load("model.safetensors")': "load load_weights load_from_checkpoint",
        "model.load_parameters(model.parameters())": "load_state_dict set_weights set_parameters",
        'model.save("model.safetensors")': "save_weights save_model save_pretrained dump",
        'model.to("numpy")': "cuda cpu numpy device half double float to_device gpu",
        "model.summary()": "count_params num_parameters describe",
        "model.layers": "modules children named_modules get_layer module_list",
        "fs.Sequential(*model.layers, fs.Softmax())": "add append add_module extend insert",
        "trainer.history": "history loss_curve_ history_ validation_scores_ best_loss_",
        "model.predict_proba(x)": "predict_log_proba probabilities",
        "trainer.epochs_done": "n_iter_ epochs n_epochs",
        "fs.sparsity(model)": "sparsity pruned",
    }),
    "TrainStep": _by_name({
        "step(x, y)": "step train train_on_batch partial_fit backward zero_grad forward training_step update",
        "fs.Trainer(step).fit(x, y)": "fit train_model",
        "step.model.predict(x)": "predict predict_on_batch",
        "step.evaluate(x, y)": "score test test_on_batch validate",
        "step.lr": "learning_rate set_lr get_lr get_last_lr",
        "step.backend": "device",
        "step.loss": "criterion loss_fn loss_function",
        "step.optimizer": "optim optimiser opt",
        "step.model.parameters()": "parameters state_dict params",
        "step.model.save(\"model.safetensors\")": "save save_model save_weights",
        "step.steps": "iterations n_steps global_step step_count",
        "step.gradient": "grad gradients grads",
    }),
    "Trainer": _by_name({
        "trainer.fit(x, y)": "train run train_model start fit_generator partial_fit",
        "trainer.step.evaluate(x, y)": "evaluate score test validate accuracy",
        "trainer.step.model": "model net network module module_",
        "trainer.step.model.predict_proba(x)": "predict_proba predict_log_proba",
        "trainer.step.loss": "loss criterion loss_fn criterion_",
        "trainer.step.optimizer": "optimizer optim optimizer_",
        "trainer.step.lr": "lr learning_rate",
        "trainer.step.backend": "backend device accelerator",
        'trainer.step.model.save("model.safetensors")': "save save_model",
        'trainer.fit(x, y, checkpoint=fs.Checkpoint("run"), resume="auto")': (
            "save_checkpoint load_checkpoint load resume_from_checkpoint"
        ),
        "trainer.history": "history_ log_history logs",
        "trainer.epochs_done": "epoch current_epoch n_iter_ n_epochs",
        "trainer.steps_done": "global_step n_steps iterations",
        "fs.Trainer(step, callbacks=[fs.EarlyStopping(5)])": "add_callback register_callback",
        "fs.TrainStep(model, loss, optimizer)": "compile",
    }),
    "History": _by_name({
        'history["loss"]': "loss losses train_loss history loss_curve_",
        'history["val_loss"]  # with validation=(x, y) in fit': "val_loss valid_loss validation_loss",
        'history["val_accuracy"]  # with validation=(x, y) in fit': (
            "accuracy acc val_accuracy val_acc validation_scores_ metrics val_r2"
        ),
        "history.rows": "to_frame to_pandas df dataframe to_dict items values data records epoch params",
        "history.columns": "keys names",
        "history[-1]": "last latest final tail iloc",
        "history.best()": "best_epoch best_score best_loss min max best_loss_",
        "history.stopped_because": "stopped stopped_epoch stop_reason reason",
    }),
    "StepLoss": _by_name({
        "float(loss)": "numpy detach cpu value tolist data to_numpy mean eval",
        "step(x, y)  # one call is forward, backward and update": "backward grad requires_grad",
    }),
    "MLPEstimator": _by_name({
        "clf.score(x, y)": "evaluate accuracy test",
        "clf.predict(x)": "transform eval forward",
        "clf.predict_proba(x)": "decision_function probabilities",
        "clf.model_": "model module_ net network",
        "clf.model_.parameters()": "coefs_ intercepts_ coef_ state_dict parameters get_weights",
        "clf.history_": "history validation_scores_ best_validation_score_ evals_result_ cv_results_",
        "clf.loss_curve_[-1]": "loss_ loss",
        "clf.settings_": "params settings n_layers_ out_activation_",
        'clf.settings_["optimizer"]': "optimizer_",
        "clf.encoder_": "preprocessor scaler_ scaler preprocessor_",
        'fs.save(clf.model_, "model.safetensors")  # the network; joblib.dump keeps the estimator': (
            "save save_model save_params save_weights dump"
        ),
        'fs.load("model.safetensors")': "load load_model load_params load_weights",
    }),
    "Optimizer": _by_name({
        "step(x, y)  # one call is forward, backward and update": (
            "step zero_grad apply_gradients minimize update apply backward compute_gradients init"
        ),
        "step.lr": "learning_rate param_groups defaults",
        "step.steps": "iterations",
    }),
}  # fmt: skip
"""Class -> what is looked up in its instances, and in those of classes derived from it."""

SAME = {
    "step": "model module trainer estimator",
    "hidden_layer_sizes": "widths layers units hidden hidden_sizes hidden_dims hidden_units layer_sizes",
    "max_iter": "epochs n_epochs num_epochs max_epochs nb_epoch n_iter max_fun",
    "learning_rate_init": "lr learning_rate eta initial_learning_rate",
    "n_iter_no_change": "patience early_stopping_rounds",
    "validation_fraction": "validation_split val_split validation_size",
    "random_state": "seed random_seed rng",
    "n_ensemble": "n_estimators n_members members ensemble ensemble_size",
    "encoder": "preprocessor transformer scaler preprocessing",
    "iterations": "max_iter maxiter max_iterations n_iter epochs nit",
    "gradient_tolerance": "tol gtol tolerance_grad",
    "opset": "opset_version target_opset",
    "response_method": "needs_proba needs_threshold needs method",
    "epochs": "n_epochs num_epochs max_epochs nb_epoch nb_epochs max_iter n_iter iterations num_train_epochs epoch",
    "batch_size": "batchsize bs minibatch_size mini_batch_size per_device_train_batch_size",
    "validation": "validation_data val_data eval_set valid validation_set valid_data eval_data val_set X_val test_data val",
    "sample_weight": "sample_weights weights weight",
    "max_steps": "steps_per_epoch num_steps total_steps max_fun n_steps",
    "resume": "resume_from_checkpoint ckpt_path",
    "checkpoint": "checkpoint_dir save_dir checkpoints",
    "x": "X inputs input data features X_train train_data",
    "y": "Y targets target labels label y_train",
    "schedule": "scheduler lr_scheduler lr_schedule learning_rate_schedule",
    "progress": "verbose progress_bar verbosity show_progress enable_progress_bar",
    "evaluate_training": "train_metrics",
    "callbacks": "callback",
    "lr": "learning_rate learning_rate_init eta step_size base_lr initial_learning_rate max_lr initial_lr",
    "beta1 and beta2": "betas beta",
    "beta1": "beta_1 b1 momentum",
    "beta2": "beta_2 b2 rho",
    "beta": "rho alpha decay_rate smoothing_constant",
    "epsilon": "eps",
    "weight_decay": "wd decay alpha l2_regularization_strength kernel_regularizer",
    "l2": "l2_regularization lambda_ reg_lambda penalty",
    "momentum": "mu momentum_schedule",
    "clip_norm": "clipnorm global_clipnorm max_grad_norm gradient_clip_val max_norm grad_clip",
    "clip_value": "clipvalue gradient_clip_value",
    "groups": "params param_groups",
    "state_dtype": "state_precision",
    "patience": "n_iter_no_change stopping_rounds early_stopping_rounds",
    "smallest_change": "min_delta tol min_change threshold threshold_mode",
    "tolerance": "min_delta tol threshold",
    "restore_best": "restore_best_weights load_best load_best_model_at_end",
    "monitor": "metric quantity",
    "smallest_lr": "min_lr eta_min",
    "final": "eta_min alpha min_lr end_learning_rate",
    "every": "step_size milestones decay_steps frequency every_n_epochs",
    "factor": "gamma decay_rate",
    "k": "gamma decay_rate decay",
    "steps": "T_max decay_steps total_steps warmup_steps total_iters num_warmup_steps",
    "threshold": "min_delta tol",
    "every_epochs": "save_freq period save_interval every_n_epochs",
    "every_steps": "save_steps every_n_train_steps",
    "keep": "save_total_limit save_top_k max_to_keep",
    "best": "save_best_only monitor save_best",
    "folder": "filepath path dirpath directory log_dir logdir dir",
    "seed": "random_state random_seed rng generator manual_seed",
    "backend": "device accelerator devices gpu use_cuda",
    "precision": "dtype mixed_precision amp half fp16 bf16",
    "dtype": "precision",
    "micro_batch": "accumulate_grad_batches gradient_accumulation_steps accumulation_steps micro_batch_size",
    "deterministic": "use_deterministic_algorithms reproducible",
    "average": "ema use_ema ema_decay swa averaging",
    "loss": "criterion loss_fn loss_function objective",
    "optimizer": "optimiser solver optim opt",
    "model": "net network module estimator",
    "widths": "hidden_layer_sizes layer_sizes sizes units hidden_units hidden hidden_dims layers hidden_sizes",
    "activation": "activations act nonlinearity activation_fn",
    "dropout": "p dropout_rate drop_rate drop rate",
    "layer_norm": "batch_norm norm batchnorm use_batch_norm normalization",
    "weight_init": "kernel_initializer init initializer weights_init",
    "bias_init": "bias_initializer",
    "inputs": "in_features input_dim input_shape in_dim n_inputs input_size",
    "outputs": "out_features units output_dim out_dim n_outputs output_size n_classes",
    "bias": "use_bias",
    "p": "rate prob dropout fraction drop_prob",
    "sigma": "stddev std scale",
    "features": "normalized_shape num_features axis num_parameters",
    "slope": "negative_slope alpha negative_slope_coefficient",
    "a": "alpha",
    "approximate": "tanh",
    "categories": "num_embeddings input_dim vocab_size cardinalities cat_dims",
    "width": "embedding_dim output_dim dim embed_dim",
    "size": "pool_size kernel_size",
    "stride": "strides",
    "in_channels": "channels input_channels",
    "out_channels": "filters output_channels",
    "class_weights": "class_weight weight pos_weight alpha weights",
    "label_smoothing": "smoothing_factor smooth epsilon label_smooth",
    "reduction": "reduce size_average",
    "delta": "beta huber_delta",
    "levels": "quantiles quantile q alpha tau",
    "gamma": "focusing",
    "trials": "n_trials n_iter max_trials num_samples num_trials",
    "space": "param_distributions param_grid search_space param_space",
    "storage": "study storage_path db",
    "report": "progress verbose",
    "members": "n_estimators n_models",
    "samples": "max_samples",
    "n_jobs": "num_workers workers n_workers",
    "workers": "n_jobs num_workers n_workers",
    "path": "filename file filepath file_path f",
    "batch_rows": "batch_size",
    "target": "baseline value sparsity amount label target_column label_column",
    "models": "base_estimator estimator model",
    "mode": "direction greater_is_better",
    "greater_is_better": "mode direction sign",
    "lr_scale": "lr learning_rate lr_mult",
    "uri": "tracking_uri tracking",
    "hidden": "hidden_layer_sizes layer_sizes widths layers units hidden_sizes hidden_units hidden_dims",
    "ensemble": "n_ensemble n_estimators n_members members ensemble_size",
    "weight": "sample_weight sample_weights weights weight_column",
    "validation_share": "validation_fraction validation_split val_split validation_size val_size",
    "test_share": "test_fraction test_split test_size",
    "out": "output output_file save model_file",
    "alpha": "weight_decay l2 l2_reg lambda_",
    "class_weight": "class_weights",
    "project": "project_name",
    "experiment": "experiment_name",
    "run": "run_name name",
    "rise": "pct_start",
    "divisor": "div_factor",
    "final_divisor": "final_div_factor",
    "decay": "beta alpha momentum",
}
"""Argument or option of this package -> what it is called elsewhere; it is given where the function or command has it."""

_OF_TRAINING = _by_name({
    "trainer.fit(x[:80], y[:80], validation=(x[80:], y[80:]))  # rows that you keep apart": (
        "validation_split validation_fraction train_split val_split validation_data validation_size test_size eval_set"
    ),
    "trainer.fit(x, y, epochs=10)": "n_epochs num_epochs max_epochs nb_epoch max_iter epochs n_iter",
    "trainer.fit(x, y, batch_size=128)": "batch_size dataset iterator_train train_dataloader data",
    "trainer.fit(x, y, max_steps=100)": "max_steps max_fun fast_dev_run limit_train_batches steps_per_epoch",
    "trainer.fit(x, y, sample_weight=[1.0] * len(x))": "sample_weight sample_weights",
    "trainer.fit(x, y, validation=(x, y))": "validation",
    "trainer.fit(x, y, epochs=10)  # once more: it goes on with the same parameters": "warm_start initial_epoch",
    'trainer.fit(x, y, checkpoint=fs.Checkpoint("run"), resume="auto")': (
        "checkpoint resume ckpt_path enable_checkpointing default_root_dir save_weights_only save_best_only"
    ),
    "fs.Trainer(step, progress=True)": "verbose progress progress_bar verbosity show_progress",
    "fs.Trainer(step, callbacks=[fs.EarlyStopping(5)])": (
        "callbacks early_stopping early_stopping_rounds patience n_iter_no_change tol min_delta"
    ),
    'fs.TensorBoard("runs/first")': "logger loggers log_dir tensorboard",
    "fs.Trainer(step, schedule=fs.StepDecay())": "schedule scheduler lr_scheduler lr_schedule power_t learning_rate_schedule",
    'fs.Trainer(step, shuffle="each_epoch")': "shuffle",
    'fs.Trainer(step, metrics=["roc_auc"])': "metrics metric eval_metric",
    "fs.Trainer(step)": (
        "drop_last pin_memory num_workers persistent_workers workers prefetch_factor collate_fn use_multiprocessing"
    ),
    'fs.TrainStep(model, loss, optimizer, backend="cuda")': "device accelerator backend devices gpus use_cuda",
    'fs.TrainStep(fs.mlp([20, 64, 2]), loss, optimizer, precision="float64")': "dtype precision mixed_precision amp",
    "fs.TrainStep(model, loss, optimizer, seed=0)": "seed random_state random_seed",
    "fs.TrainStep(model, loss, optimizer, average=fs.EMA(0.999))": "ema use_ema ema_decay average averaging",
    "fs.TrainStep(model, loss, optimizer)": (
        "loss criterion optimizer solver fused foreach jit_compile run_eagerly capturable compile"
    ),
    "fs.Adam(1e-3)": "lr learning_rate learning_rate_init amsgrad maximize differentiable params",
    "fs.Adam(1e-3, weight_decay=1e-4)": (
        "weight_decay alpha l2 kernel_regularizer bias_regularizer activity_regularizer decay regularizer"
    ),
    "fs.Adam(1e-3, clip_norm=1.0)": "clip_norm clipnorm max_grad_norm gradient_clip_val clip_grad_norm",
    "fs.Adam(1e-3, beta1=0.9, beta2=0.999)": "betas beta_1 beta_2 beta1 beta2",
    "fs.Adam(1e-3, epsilon=1e-8)": "eps epsilon",
    "fs.Momentum(1e-2, momentum=0.9)": "momentum dampening",
    "fs.Nesterov(1e-2, momentum=0.9)": "nesterov nesterovs_momentum use_nesterov",
    'fs.SoftmaxCrossEntropy(class_weights="balanced")': "class_weight class_weights pos_weight weight",
    "fs.SoftmaxCrossEntropy(label_smoothing=0.1)": "label_smoothing",
    "fs.SoftmaxCrossEntropy()  # it takes logits, and integer labels": "from_logits ignore_index sparse num_classes",
    'fs.mlp([20, 64, 2], activation="relu")': "activation hidden_layer_sizes units hidden_units",
    "fs.mlp([20, 64, 2], dropout=0.1)": "dropout dropout_rate",
    "fs.mlp([20, 64, 2], layer_norm=True)": "batch_norm layer_norm normalization",
    "fs.set_num_threads(1)": "n_jobs threads num_threads n_threads",
    "fs.search(x[:80], y[:80], validation=(x[80:], y[80:]), trials=2, epochs=1)": "cv scoring param_grid refit",
})

_OF_ESTIMATORS = _by_name({
    "fs.MLPClassifier(max_iter=100)": "max_iter epochs n_epochs num_epochs max_epochs nb_epoch n_iter max_fun max_steps",
    "fs.MLPClassifier(batch_size=128)": "batch_size",
    "fs.MLPClassifier(early_stopping=True, validation_fraction=0.2)  # a part of the rows of fit": (
        "validation validation_data validation_split val_split eval_set test_size X_val y_val"
    ),
    "fs.MLPClassifier(early_stopping=True, n_iter_no_change=10)": "patience early_stopping early_stopping_rounds",
    'fs.MLPClassifier(callbacks=[fs.TensorBoard("runs/first")])': "callbacks callback logger loggers",
    "fs.MLPClassifier(verbose=True)": "verbose progress",
    'fs.MLPClassifier(class_weight="balanced")': "class_weight class_weights",
    "fs.MLPClassifier(warm_start=True)": "warm_start initial_epoch",
    "fs.MLPClassifier(optimizer=fs.Momentum(1e-2, momentum=0.9))": "momentum",
    "fs.MLPClassifier(optimizer=fs.Nesterov(1e-2, momentum=0.9))": "nesterovs_momentum nesterov",
    "fs.MLPClassifier(optimizer=fs.Adam(1e-3, beta1=0.9, beta2=0.999))": "beta_1 beta_2 betas beta1 beta2",
    "fs.MLPClassifier(optimizer=fs.Adam(1e-3, epsilon=1e-8))": "epsilon eps",
    "fs.MLPClassifier(optimizer=fs.Adam(1e-3, clip_norm=1.0))": "clip_norm clipnorm max_grad_norm gradient_clip_val",
    "fs.MLPClassifier(schedule=fs.InverseTimeDecay(0.001))": "power_t",
    "fs.set_num_threads(1)": "n_jobs threads num_threads n_threads",
})

ELSEWHERE = {"training": _OF_TRAINING, "estimator": _OF_ESTIMATORS, "prediction": {}}
"""What a caller is about to do -> argument -> where its setting is given, for functions without one that means the same."""


def name_of(name: str) -> str:
    """What to do for a name of the package, or "" for one that is not in the table."""
    return _use(NAMES.get(name))


def attribute_of(kind: type, name: str) -> str:
    """What to do for an attribute of an instance of a class, or ""."""
    return next((_use(ATTRIBUTES[c.__name__].get(name)) for c in kind.__mro__ if c.__name__ in ATTRIBUTES), "")


def argument_of(name: str, known: Iterable[str], use: str = "training") -> str:
    """What to do for an argument of a function with the arguments `known`, or "".

    That is one of them that means the same, or is written nearly the same; otherwise the place where it is set for that use.
    """
    known = tuple(known)
    for same, others in SAME.items():
        if name in others.split() and set(same.split(" and ")) <= set(known):
            return "write " + same.replace(" and ", "= and ") + "="
    if name not in ELSEWHERE[use]:
        near = get_close_matches(name, known, n=1, cutoff=0.85)
        return f"write {near[0]}=" if near else ""
    return _use(ELSEWHERE[use][name])


def _use(advice: str | None) -> str:
    """The words of an error for a row."""
    expression, _, remark = (advice or "").partition("  # ")
    return "" if not expression else f"use {expression} ({remark})" if remark else f"use {expression}"
