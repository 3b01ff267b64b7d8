// JupyterLab's pages get two things from here: a card in the launcher that makes a new job, and the colours of SQL in
// cells of %%cql, %%hive and %%sql. It is the container that a module federation build would make, written by hand: plain
// JavaScript without a build step. JupyterLab calls `init` with the packages that it shares, then `get`.
"use strict";
(() => {
  const LANGUAGES = { cql: "CQL", hive: "SQL", sql: "SQL" };
  const MAGIC = /^\s*%%(cql|hive|sql)\b/;
  const NEW_JOB = "retailpulse:new-job";
  let shared = {};

  // A package of JupyterLab's own; there is one version of each.
  const load = async (name) => (await Object.values(shared[name])[0].get())();

  async function plugins() {
    const [apputils, codemirror, launcher, services, state, ui] = await Promise.all(
      ["apputils", "codemirror", "launcher", "services"].map((name) => load(`@jupyterlab/${name}`)).concat(
        load("@codemirror/state"), load("@jupyterlab/ui-components")));

    async function newJob(app, cwd) {
      const asked = await apputils.InputDialog.getText({
        title: "New RetailPulse job",
        label: "Name: lower-case letters, digits and _",
        placeholder: "brand_sales",
        okLabel: "Create",
      });
      if (!asked.button.accept) return;
      const { serverSettings } = app.serviceManager;
      const response = await services.ServerConnection.makeRequest(
        `${serverSettings.baseUrl}retailpulse/new-job`,
        { method: "POST", body: JSON.stringify({ name: asked.value ?? "", folder: cwd }) },
        serverSettings,
      );
      const answer = await response.json();
      if (response.ok) await app.commands.execute("docmanager:open", { path: answer.path, kernel: { name: "retailpulse" } });
      else await apputils.showErrorMessage("The job was not made", answer.message);
    }

    const jobs = {
      id: "retailpulse:jobs",
      description: "Makes the notebook of a new job.",
      autoStart: true,
      optional: [launcher.ILauncher, apputils.ICommandPalette],
      activate: (app, cards, palette) => {
        app.commands.addCommand(NEW_JOB, {
          label: "New RetailPulse job",
          caption: "Make the notebook of a new streaming job, with a test and a preview",
          execute: (options) => newJob(app, options.cwd ?? ""),
        });
        // Among the kernels, where new notebooks are; a card there has a picture instead of the command's icon.
        const picture = `data:image/svg+xml,${encodeURIComponent(ui.notebookIcon.svgstr)}`;
        cards?.add({ command: NEW_JOB, category: "Notebook", rank: 100, kernelIconUrl: picture });
        palette?.addItem({ command: NEW_JOB, category: "RetailPulse" });
      },
    };

    const magics = {
      id: "retailpulse:magics",
      description: "Colours the text of %%cql, %%hive and %%sql as SQL.",
      autoStart: true,
      requires: [codemirror.IEditorExtensionRegistry, codemirror.IEditorLanguageRegistry],
      activate: async (app, extensions, languages) => {
        const supports = {};
        for (const [magic, name] of Object.entries(LANGUAGES)) {
          const found = (await languages.getLanguage(name)) ?? (await languages.getLanguage("SQL"));
          // Before the notebook's own language: CodeMirror takes the first.
          supports[magic] = state.Prec.highest(found.support);
        }
        const NONE = [];
        const wanted = (text) => supports[MAGIC.exec(text)?.[1]] ?? NONE;
        const language = new state.Compartment();
        const follow = state.EditorState.transactionExtender.of((transaction) => {
          if (!transaction.docChanged) return null;
          const now = wanted(transaction.newDoc.sliceString(0, 100));
          return language.get(transaction.startState) === now ? null : { effects: language.reconfigure(now) };
        });
        extensions.addExtension({
          name: "retailpulse:magics",
          factory: (options) => {
            if (!options.inline) return null; // a file, not a cell
            const first = language.of(wanted(options.model.sharedModel.getSource()));
            return codemirror.EditorExtensionRegistry.createImmutableExtension([first, follow]);
          },
        });
      },
    };
    return [jobs, magics];
  }

  window._JUPYTERLAB = window._JUPYTERLAB ?? {};
  window._JUPYTERLAB.retailpulse = {
    init: (scope) => { shared = scope; },
    get: async () => {
      const made = await plugins();
      return () => ({ __esModule: true, default: made });
    },
  };
})();
