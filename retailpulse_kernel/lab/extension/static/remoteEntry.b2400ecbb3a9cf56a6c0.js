// JupyterLab's pages get three things from here: a card in the launcher that makes a new job, the colours of SQL in
// cells of %%cql, %%hive and %%sql, and the topics and tables at the left side. It is the container that a module federation build would make, written by hand: plain
// JavaScript without a build step. JupyterLab calls `init` with the packages that it shares, then `get`.
"use strict";
(() => {
  const LANGUAGES = { cql: "CQL", hive: "SQL", sql: "SQL" };
  const MAGIC = /^\s*%%(cql|hive|sql)\b/;
  const NEW_JOB = "retailpulse:new-job";
  const BROWSE = "retailpulse:browse";
  // A store, as diagrams draw one.
  const PICTURE = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24"><g class="jp-icon3" fill="#616161">
    <ellipse cx="12" cy="5" rx="8" ry="3"/><path d="M4 7.5v4c0 1.7 3.6 3 8 3s8-1.3 8-3v-4c0 1.7-3.6 3-8 3s-8-1.3-8-3z"/>
    <path d="M4 14.5V18c0 1.7 3.6 3 8 3s8-1.3 8-3v-3.500c0 1.700-3.600 3-8 3s-8-1.300-8-3z"/></g></svg>`;
  let shared = {};

  // A package of JupyterLab's own; there is one version of each.
  const load = async (name) => (await Object.values(shared[name])[0].get())();

  async function plugins() {
    const [apputils, codemirror, launcher, notebook, services, state, ui, lumino] = await Promise.all(
      ["apputils", "codemirror", "launcher", "notebook", "services"].map((name) => load(`@jupyterlab/${name}`)).concat(
        load("@codemirror/state"), load("@jupyterlab/ui-components"), load("@lumino/widgets")));

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
    // The kernel gives the page and what it lists. Here is the place for it, and what puts code into a cell.
    class Side extends lumino.Widget {
      constructor(notebooks) {
        super();
        this.notebooks = notebooks;
        this.id = "retailpulse-browse";
        this.addClass("rp-side");
        this.title.icon = new ui.LabIcon({ name: "retailpulse:tables", svgstr: PICTURE });
        this.title.caption = "RetailPulse: topics and tables";
        notebooks.currentChanged.connect(() => this.follow());
      }

      onAfterShow() {
        this.follow();
      }

      /** Show what the kernel of the current notebook knows. */
      follow() {
        const session = this.notebooks.currentWidget?.sessionContext;
        if (session !== this.session) {
          this.session?.kernelChanged.disconnect(this.follow, this);
          this.session?.statusChanged.disconnect(this.restarted, this);
          session?.kernelChanged.connect(this.follow, this);
          session?.statusChanged.connect(this.restarted, this);
          this.session = session;
        }
        const kernel = session?.session?.kernel ?? null;
        if (!this.isVisible || (kernel === this.kernel && kernel)) return;
        this.kernel = kernel;
        this.leave?.();
        this.leave = null;
        if (kernel) this.open(kernel);
        else this.say("Open a notebook with the kernel RetailPulse to see its topics and tables here.");
      }

      /** A kernel that was started again has forgotten the page. */
      restarted(_session, status) {
        if (status.endsWith("restarting")) this.kernel = null;
        else if (status === "idle") this.follow();
      }

      say(text) {
        const line = document.createElement("p");
        line.className = "rp-side-note";
        line.textContent = text;
        this.node.replaceChildren(line);
      }

      open(kernel) {
        this.say("Listing topics and tables. A kernel that runs a cell answers after it.");
        const comm = kernel.createComm("retailpulse.browse");
        const values = {};
        const heard = new Set();
        const model = {
          get: (name) => values[name],
          on: (_name, callback) => heard.add(callback),
          off: (_name, callback) => heard.delete(callback),
          send: (message) => comm.send(message),
        };
        comm.onMsg = async ({ content: { data } }) => {
          values.content = data.content;
          if (!data.esm) return heard.forEach((callback) => callback());
          const address = URL.createObjectURL(new Blob([data.esm], { type: "text/javascript" }));
          const view = await import(address);
          URL.revokeObjectURL(address);
          if (kernel !== this.kernel) return;
          const style = document.createElement("style");
          style.textContent = data.css;
          this.node.replaceChildren(style);
          this.leave = view.default.render({ model, el: this.node });
        };
        comm.onClose = () => {
          if (kernel === this.kernel) this.say("This notebook's kernel has no list. Choose the kernel RetailPulse, or run %load_ext retailpulse_kernel.");
        };
        comm.open();
      }
    }

    /** Put code into the current cell where it is empty, and else into a new one below. */
    function insert(notebooks, code) {
      const cells = notebooks.currentWidget?.content;
      if (!cells) return false;
      const active = cells.activeCell?.model;
      if (active?.type !== "code" || active.sharedModel.getSource().trim()) notebook.NotebookActions.insertBelow(cells);
      if (cells.activeCell.model.type !== "code") notebook.NotebookActions.changeCellType(cells, "code");
      cells.activeCell.model.sharedModel.setSource(code);
      cells.scrollToItem(cells.activeCellIndex);
      return true;
    }

    const catalogue = {
      id: "retailpulse:catalogue",
      description: "Lists topics and tables at the left side.",
      autoStart: true,
      requires: [notebook.INotebookTracker],
      optional: [apputils.ICommandPalette],
      activate: (app, notebooks, palette) => {
        const side = new Side(notebooks);
        app.shell.add(side, "left", { rank: 800 });
        document.body.dataset.retailpulseSide = "";
        app.commands.addCommand(BROWSE, { label: "Show topics and tables", execute: () => app.shell.activateById(side.id) });
        palette?.addItem({ command: BROWSE, category: "RetailPulse" });
        document.addEventListener("retailpulse:insert", (event) => {
          if (insert(notebooks, event.detail.code)) event.preventDefault();
        });
        document.addEventListener("retailpulse:aside", (event) => {
          event.preventDefault();
          void app.commands.execute(BROWSE);
        });
      },
    };
    return [jobs, magics, catalogue];
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
