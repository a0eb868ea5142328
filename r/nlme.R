# A linear mixed model by nlme, from lme4's formula, as tidy tables with lme4's names for groups and levels.
#   source("tidy.R"); source("nlme.R")
#   fit_nlme(lme4::sleepstudy, Reaction ~ Days + (Days | Subject))$rows

fit_nlme <- function(data, formula, method = c("REML", "ML"), profile = c("default", "tight"),
                     weights = NULL, offset = NULL) {
  method <- match.arg(method)
  profile <- match.arg(profile)
  started <- Sys.time()
  if (!is.null(offset)) stop("lme() has no offset")
  model <- nlme_model(data, formula)
  variance <- nlme_variance(model, weights)
  correlation <- nlme_correlation(model)
  fit <- if (profile == "default") {
    nlme::lme(
      model$fixed, model$data, random = model$random, method = method, weights = variance, correlation = correlation
    )
  } else {
    tight_nlme(model, method, variance, correlation)
  }
  seconds <- as.numeric(Sys.time() - started, units = "secs")

  errors <- nlme_errors(fit, model)
  # varFix is sigma^2 (X'V^-1X)^-1 under ML too; the factor n/(n-p) is summary()'s alone.
  rows <- tidy_table(
    tidy_fixed(nlme::fixef(fit), sqrt(diag(fit$varFix)), fit$fixDF$X),
    lapply(model$terms, nlme_covariance, fit = fit),
    tidy_residual(errors$sigma, errors$parameters),
    lapply(model$terms, nlme_levels, fit = fit, data = model$data)
  )
  # lme() is an error when it has not converged: what it returns, it claims.
  facts <- list(
    loglik = as.numeric(logLik(fit)), sigma = errors$sigma, n = nrow(fit$groups), seconds = seconds, converged = TRUE
  )
  list(rows = rows, facts = facts)
}

# EM to its fixed point, then nlminb without slack (its sing.tol would follow rel.tol and stop it early). Where
# differences of the log-likelihood are too coarse for that and lme() gives up, nlminb's own slack.
tight_nlme <- function(model, method, variance = NULL, correlation = NULL) {
  fit_by <- function(...) {
    control <- nlme::lmeControl(niterEM = 5000, maxIter = 500, msMaxIter = 1000, msMaxEval = 5000, ...)
    nlme::lme(
      model$fixed, model$data, random = model$random, method = method, weights = variance, correlation = correlation,
      control = control
    )
  }
  tryCatch(fit_by(rel.tol = 1e-13, x.tol = 1e-10, sing.tol = 1e-30), error = function(e) fit_by())
}

# lme()'s variance function, of a column of precision weights and of strata; NULL without either.
nlme_variance <- function(model, weights = NULL) {
  given <- if (!is.null(weights)) nlme::varFixed(as.formula(call("~", call("/", 1, as.name(weights)))))
  residual <- model$residual
  if (!identical(residual$kind, "varIdent")) return(given)
  strata <- nlme::varIdent(form = as.formula(call("~", call("|", 1, as.name(residual$group)))))
  if (is.null(given)) strata else nlme::varComb(given, strata)
}

# lme()'s correlation, of a series; its group is the one that nlme_model() made.
nlme_correlation <- function(model) {
  residual <- model$residual
  if (!identical(residual$kind, "corAR1")) return(NULL)
  series <- call("|", as.name(residual$position), as.name(paste0(residual$group, ".")))
  nlme::corAR1(form = as.formula(call("~", series)))
}

# sigma of a stratum's first level, and the parameters of formula_parts()' residual: nlme's own reference is the
# stratum that it meets first.
nlme_errors <- function(fit, model) {
  residual <- model$residual
  if (is.null(residual)) return(list(sigma = fit$sigma))
  if (residual$kind == "corAR1") {
    phi <- coef(fit$modelStruct$corStruct, unconstrained = FALSE) # Phi1 of an ARMA(1, 0), which it is where steps miss
    return(list(sigma = fit$sigma, parameters = c(Phi = phi[[1]])))
  }
  variance <- fit$modelStruct$varStruct
  if (inherits(variance, "varComb")) variance <- variance[[2]]
  sd <- coef(variance, unconstrained = FALSE, allCoef = TRUE)[levels(model$data[[residual$group]])]
  list(sigma = fit$sigma * sd[[1]], parameters = setNames(sd[-1] / sd[[1]], paste0("ratio__", names(sd)[-1])))
}

# lme4's formula as lme()'s `fixed` and `random`, and the data with a column for each group. Groups that are nested
# in one another (by the data) are lme's levels. Where they are crossed, only those with correlated coefficients are:
# any other coefficient is pdIdent over indicator columns, within one group that holds every row.
nlme_model <- function(data, formula) {
  parts <- formula_parts(formula)
  if (!length(parts$random)) stop("lme() needs a random term")
  terms <- lapply(parts$random, nlme_term, data = data)
  # The full stop keeps `g1.` + level "11" and `g11.` + level "1" apart.
  for (term in terms) data[[term$column]] <- interaction(data[term$factors], drop = TRUE, sep = ":")
  column <- vapply(terms, `[[`, "", "column")
  groups <- unique(column)
  groups <- groups[order(vapply(data[groups], nlevels, 0L))] # coarsest first
  wide <- vapply(terms, function(term) length(term$names) > 1, NA)
  nested <- if (is_chain(data[groups])) groups else intersect(groups, column[wide])
  if (!is_chain(data[nested])) stop("lme() cannot correlate the coefficients of two crossed groups")

  random <- list()
  crossed <- which(!column %in% nested)
  if (length(crossed)) {
    data$all_rows <- factor(rep(1, nrow(data)))
    blocks <- lapply(terms[crossed], function(term) nlme::pdIdent(nlme_indicators(term)))
    random$all_rows <- if (length(blocks) == 1) blocks[[1]] else nlme::pdBlocked(blocks)
  }
  for (group in nested) random[[group]] <- nlme_block(terms[column == group])
  if (identical(parts$residual$kind, "corAR1")) { # steps are whole numbers, which lme() wants as integers
    data[[parts$residual$position]] <- as.integer(data[[parts$residual$position]])
  }
  end <- 0
  for (i in crossed) {
    width <- nlevels(data[[column[i]]])
    terms[[i]]$at <- end + seq_len(width)
    end <- end + width
  }
  list(fixed = parts$fixed, data = data, random = random, terms = terms, residual = parts$residual)
}

# A term of formula_parts() with lme4's name of its group, the data column that will hold it, and coefficient names.
nlme_term <- function(term, data) {
  Z <- model.matrix(term$columns, model.frame(term$columns, data, na.action = na.pass))
  group <- paste(term$factors, collapse = ":")
  c(term, list(group = group, column = paste0(make.names(group), "."), names = colnames(Z)))
}

# TRUE if each of these partitions, coarsest first, refines the one before it.
is_chain <- function(groups) {
  refines <- function(fine, coarse) {
    parent <- coarse[match(levels(fine), fine)]
    all(parent[as.integer(fine)] == coarse, na.rm = TRUE)
  }
  all(as.logical(Map(refines, groups[-1], groups[-length(groups)])))
}

# ~ g - 1 for an intercept, ~ g:x - 1 for a slope.
nlme_indicators <- function(term) {
  group <- as.name(term$column)
  slope <- attr(terms(term$columns), "term.labels")
  by <- if (length(slope)) call(":", group, str2lang(slope)) else group
  as.formula(call("~", call("-", by, 1)))
}

# All terms of one nested group: a general matrix, a diagonal one, or blocks of general ones.
nlme_block <- function(terms) {
  if (length(terms) == 1) return(terms[[1]]$columns)
  if (any(lengths(lapply(terms, `[[`, "names")) > 1)) {
    return(nlme::pdBlocked(lapply(terms, function(term) nlme::pdLogChol(term$columns))))
  }
  slopes <- unlist(lapply(terms, function(term) attr(terms(term$columns), "term.labels")))
  intercept <- as.numeric(length(slopes) < length(terms))
  sum <- Reduce(function(left, label) call("+", left, str2lang(label)), slopes, intercept)
  nlme::pdDiag(as.formula(call("~", sum)))
}

# VarCorr() prints rounded text; the matrix itself is in the fit, relative to sigma^2.
nlme_covariance <- function(term, fit) {
  home <- if (is.null(term$at)) term$column else "all_rows"
  G <- nlme::pdMatrix(fit$modelStruct$reStruct[[home]]) * fit$sigma^2
  G <- if (is.null(term$at)) G[term$names, term$names, drop = FALSE] else G[term$at[1], term$at[1], drop = FALSE]
  dimnames(G) <- list(term$names, term$names)
  tidy_covariance(term$group, G)
}

nlme_levels <- function(term, fit, data) {
  b <- nlme::ranef(fit)
  if (is.data.frame(b)) b <- setNames(list(b), names(fit$groups))
  if (!is.null(term$at)) {
    level <- levels(data[[term$column]])
    return(tidy_rows("ran_vals", term$names, unlist(b$all_rows)[term$at], group = term$group, level = level))
  }
  b <- b[[term$column]][, term$names, drop = FALSE]
  # nlme's labels run from the outermost level in ("a1/b1"); lme4's are the group's own ("b1:a1").
  row.names(b) <- as.character(data[[term$column]])[match(row.names(b), fit$groups[[term$column]])]
  tidy_levels(term$group, b)
}
