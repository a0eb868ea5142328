# A linear mixed model by glmmTMB, as tidy tables.
#   source("tidy.R"); source("glmmTMB.R")
#   fit_glmmTMB(lme4::sleepstudy, Reaction ~ Days + (Days | Subject))$rows
# Standard errors are of the joint Hessian: they carry the uncertainty of theta.
# glmmTMB's own weights multiply log-likelihoods and are no precisions: here they are refused.

fit_glmmTMB <- function(data, formula, method = c("REML", "ML"), profile = c("default", "tight"),
                        weights = NULL, offset = NULL) {
  REML <- match.arg(method) == "REML"
  profile <- match.arg(profile)
  started <- Sys.time()
  if (!is.null(weights)) stop("glmmTMB's weights are likelihood weights, not precision weights")
  model <- glmmTMB_model(data, formula)
  fit <- if (profile == "default") {
    glmmTMB_call(model, REML, offset)
  } else {
    tight_glmmTMB(model, REML, offset)
  }
  seconds <- as.numeric(Sys.time() - started, units = "secs")

  beta <- glmmTMB::fixef(fit)$cond
  # Where a variance is at zero the joint Hessian may not be invertible: then there are no standard errors.
  variance <- tryCatch(diag(as.matrix(vcov(fit)$cond))[names(beta)], error = function(e) {
    warning("no standard errors: ", conditionMessage(e), call. = FALSE)
    NA_real_
  })
  errors <- glmmTMB_errors(fit, model)
  rows <- list(tidy_fixed(beta, sqrt(variance)), tidy_residual(errors$sigma, errors$parameters))
  terms <- names(fit$modelInfo$reTrms$cond$cnms) # VarCorr calls a group's second term g.1
  series <- identical(model$residual$kind, "corAR1") # the last term is then of the errors
  if (series) terms <- terms[-length(terms)]
  if (length(terms)) {
    G <- lapply(unname(unclass(glmmTMB::VarCorr(fit)$cond))[seq_along(terms)], estimated)
    b <- glmmTMB::ranef(fit, condVar = FALSE)$cond
    if (series) b <- Filter(length, lapply(b, function(b) b[!startsWith(colnames(b), "step.")]))
    rows <- c(rows, Map(tidy_covariance, terms, G), Map(tidy_levels, names(b), b))
  }
  facts <- list(
    loglik = as.numeric(logLik(fit)), # NA where the Hessian is not positive definite
    sigma = errors$sigma, n = nobs(fit), seconds = seconds,
    converged = fit$fit$convergence == 0 && isTRUE(fit$sdr$pdHess)
  )
  list(rows = tidy_table(rows), facts = facts)
}

# glmmTMB turns (x || g) into one term with a diagonal matrix: its zeros are no parameters.
estimated <- function(G) {
  if (identical(names(attr(G, "blockCode")), "diag")) G[row(G) != col(G)] <- NA
  G
}

# The formula as glmmTMB has it. Strata are a model of the dispersion; a series is a random term by its steps, whose
# variance takes the place of the residual's.
glmmTMB_model <- function(data, formula) {
  residual <- formula_parts(formula)$residual
  model <- list(formula = formula, data = data, residual = residual, dispersion = ~1)
  if (is.null(residual)) return(model)
  model$formula[[3]] <- formula[[3]][[2]] # the errors stand last
  if (residual$kind == "varIdent") {
    model$dispersion <- eval(bquote(~ factor(.(as.name(residual$group)), ordered = FALSE))) # else polynomials
    return(model)
  }
  steps <- data[[residual$position]]
  model$data$step. <- factor(steps, levels = seq(min(steps, na.rm = TRUE), max(steps, na.rm = TRUE)))
  series <- call("ar1", call("|", quote(0 + step.), as.name(residual$group)))
  model$formula[[3]] <- call("+", model$formula[[3]], series)
  model$dispersion <- ~0
  model
}

glmmTMB_call <- function(model, REML, offset = NULL, ...) {
  formula <- model$formula
  data <- model$data
  dispersion <- model$dispersion
  more <- list(...)
  call <- quote(glmmTMB::glmmTMB(formula, data, REML = REML, dispformula = dispersion))
  with_columns(as.call(c(as.list(call), more)), offset = offset)
}

# sigma of a stratum's first level, and the parameters of formula_parts()' residual. The model of the dispersion is of
# the log variance before glmmTMB 1.1.9, of the log sd from then on.
glmmTMB_errors <- function(fit, model) {
  if (is.null(model$residual)) return(list(sigma = sigma(fit)))
  if (model$residual$kind == "corAR1") {
    G <- unclass(glmmTMB::VarCorr(fit)$cond)
    G <- G[[length(G)]]
    return(list(sigma = attr(G, "stddev")[[1]], parameters = c(Phi = attr(G, "correlation")[2, 1])))
  }
  sd <- exp(glmmTMB::fixef(fit)$disp / if (packageVersion("glmmTMB") < "1.1.9") 2 else 1)
  level <- levels(model$data[[model$residual$group]])
  list(sigma = sd[[1]], parameters = setNames(sd[-1], paste0("ratio__", level[-1])))
}

# nlminb without slack (its sing.tol would follow rel.tol and stop it early), then BFGS on glmmTMB's exact gradient,
# restarted from that optimum. Where BFGS breaks down (a variance of zero lies at minus infinity), nlminb's is the best.
tight_glmmTMB <- function(model, REML, offset = NULL) {
  fit_by <- function(control, start) glmmTMB_call(model, REML, offset, control = control, start = start)
  careful <- glmmTMB::glmmTMBControl(
    optCtrl = list(iter.max = 1e4, eval.max = 1e4, rel.tol = 1e-13, x.tol = 1e-10, sing.tol = 1e-30)
  )
  exact <- glmmTMB::glmmTMBControl(
    optimizer = stats::optim, optArgs = list(method = "BFGS"), optCtrl = list(reltol = 1e-16, maxit = 1e4)
  )
  fit <- suppressWarnings(fit_by(careful, NULL))
  at <- fit$obj$env$parList(fit$fit$par, fit$fit$parfull)
  at <- at[grepl("^(beta|theta|betad|betadisp)$", names(at))] # the dispersion is betadisp from glmmTMB 1.1.10 on
  tryCatch(fit_by(exact, at), error = function(e) {
    warning("not restarted: ", conditionMessage(e), call. = FALSE)
    fit
  })
}
