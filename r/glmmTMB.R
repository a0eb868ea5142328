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
  fit <- if (profile == "default") {
    with_columns(quote(glmmTMB::glmmTMB(formula, data, REML = REML)), offset = offset)
  } else {
    tight_glmmTMB(formula, data, REML, offset)
  }
  seconds <- as.numeric(Sys.time() - started, units = "secs")

  beta <- glmmTMB::fixef(fit)$cond
  # Where a variance is at zero the joint Hessian may not be invertible: then there are no standard errors.
  variance <- tryCatch(diag(as.matrix(vcov(fit)$cond))[names(beta)], error = function(e) {
    warning("no standard errors: ", conditionMessage(e), call. = FALSE)
    NA_real_
  })
  rows <- list(tidy_fixed(beta, sqrt(variance)), tidy_residual(sigma(fit)))
  terms <- names(fit$modelInfo$reTrms$cond$cnms) # VarCorr calls a group's second term g.1
  if (length(terms)) {
    G <- lapply(unname(unclass(glmmTMB::VarCorr(fit)$cond)), estimated)
    b <- glmmTMB::ranef(fit, condVar = FALSE)$cond
    rows <- c(rows, Map(tidy_covariance, terms, G), Map(tidy_levels, names(b), b))
  }
  facts <- list(
    loglik = as.numeric(logLik(fit)), # NA where the Hessian is not positive definite
    sigma = sigma(fit), n = nobs(fit), seconds = seconds,
    converged = fit$fit$convergence == 0 && isTRUE(fit$sdr$pdHess)
  )
  list(rows = tidy_table(rows), facts = facts)
}

# glmmTMB turns (x || g) into one term with a diagonal matrix: its zeros are no parameters.
estimated <- function(G) {
  if (identical(names(attr(G, "blockCode")), "diag")) G[row(G) != col(G)] <- NA
  G
}

# nlminb without slack (its sing.tol would follow rel.tol and stop it early), then BFGS on glmmTMB's exact gradient,
# restarted from that optimum. Where BFGS breaks down (a variance of zero lies at minus infinity), nlminb's is the best.
tight_glmmTMB <- function(formula, data, REML, offset = NULL) {
  fit_by <- function(control, start) {
    call <- quote(glmmTMB::glmmTMB(formula, data, REML = REML, control = control, start = start))
    with_columns(call, offset = offset)
  }
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
